"""Genuine upstream programs to test and measure against: Parsec's service and ``parsec-tool``, from Debian's packages.

They live in a Debian root of their own (``python -m peers`` builds it) and run in private mount namespaces, so that
nothing is mounted on the machine and nothing stays behind when a test is killed. All of it needs root; no part of it is
in edgeroot's wheel.
"""

from peers.programs import UpstreamService as UpstreamService
from peers.programs import run_in_root as run_in_root
from peers.programs import run_parsec_tool as run_parsec_tool
from peers.root import PeersRoot as PeersRoot
from peers.root import PeersUnavailableError as PeersUnavailableError
