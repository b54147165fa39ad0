"""Where cargo and Go are, also for who has them where their own installers put them and not on the PATH."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PLACES = (Path.home() / ".cargo/bin", Path("/usr/local/go/bin"))


def search_path() -> str:
    """A PATH with these places behind the usual one."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, _PLACES)])


def tool(name: str) -> str | None:
    """The program's path, or None if it is nowhere."""
    return shutil.which(name, path=search_path())
