"""Where the installed program ``edgeroot`` begins."""

from __future__ import annotations

from typing import NoReturn

from edgeroot.cli.frame import root


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    root().main(prog_name="edgeroot")
    raise AssertionError("click ends the process itself")
