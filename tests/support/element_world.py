"""A secure world whose crypto partition has an emulated element beneath it; run as a program, its partition manager.

The product is as it is, but for how the crypto partition's process begins, and for what that process can read: these
tests, among which is the emulated bus.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from edgeroot.secure.spm import launch, sandbox
from edgeroot.secure.spm.run import main
from edgeroot.testing.atecc import Atecc, Model

ROOT: Final = Path(__file__).resolve().parents[2]
_PARTITION: Final = ROOT / "tests" / "support" / "element_partition.py"
_MEMORY: Final = "atecc608a"
SETTINGS: Final = 'device_type = "atecc608a"\niface_type = "i2c"\nwake_delay = 1\nrx_retries = 1\n'

_spawn = sandbox.spawn
_readable = sandbox.readable


def _readable_with_tests(interpreter: str, *, verified: bool = False) -> tuple[str, ...]:
    return (*_readable(interpreter, verified=verified), str(ROOT / "tests"))


def _spawn_over_element(
    spec: sandbox.SandboxSpec, arguments: Sequence[str], *, pass_fds: Sequence[int], stderr: int
) -> subprocess.Popen[bytes]:
    if spec.name == "crypto":
        memory = Path(spec.seen_inside()["/element"]) / _MEMORY
        arguments = (arguments[0], "-I", str(_PARTITION), str(memory), arguments[-1])
    return _spawn(spec, arguments, pass_fds=pass_fds, stderr=stderr)


@contextmanager
def settings_file() -> Iterator[Path]:
    """What ``--secure-element`` is given."""
    with tempfile.TemporaryDirectory(prefix="edgeroot-element-") as folder:
        path = Path(folder) / "element.toml"
        path.write_text(SETTINGS)
        yield path


def memory_in(state: Path) -> Path:
    """Where the emulated part's memory is, as root sees it."""
    return state / "partitions" / "crypto" / _MEMORY


def part_in(state: Path) -> Atecc:
    return Atecc(Model.ATECC608A, file=memory_in(state))


if __name__ == "__main__":
    with (
        patch.object(sandbox, "readable", _readable_with_tests),
        patch.object(launch, "readable", _readable_with_tests),
        patch.object(launch, "spawn", _spawn_over_element),
    ):
        sys.exit(main(sys.argv[1:]))
