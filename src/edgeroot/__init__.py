"""edgeroot: hardware-rooted security for any workload at the edge.

Start with :mod:`edgeroot.client` to use keys, and with ``edgeroot up`` (or ``edgeroot serve``) to keep them.
"""

from edgeroot._version import __version__ as __version__
