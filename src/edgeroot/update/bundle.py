"""A release in one file, for devices without a network: a plain tar of a part of the repository.

The members are called as in the repository, in the order of their names, with nothing of the machine that wrote them:
the same release gives the same bytes. What it says is as trusted, and expires as soon, as in the repository.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path


def write_bundle(files: Mapping[str, Path]) -> bytes:
    """OSError if a file cannot be read."""
    output = BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, path in sorted(files.items()):
            data = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            archive.addfile(member, BytesIO(data))
    return output.getvalue()
