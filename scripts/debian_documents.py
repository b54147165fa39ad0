"""What Debian's policy wants beside what runs: a manual page, a changelog in its form, and digests of the files."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final

import click

_FILES: Final = {
    "/etc/parsec/config.toml": "The configuration of the service.",
    "/run/parsec/parsec.sock": "The socket of the service, unless PARSEC_SERVICE_ENDPOINT names another.",
    "/var/lib/parsec": "The keys, encrypted.",
}


def changelog(name: str, version: str, maintainer: str, when: datetime) -> bytes:
    """One entry, compressed: what changed is in a file for people beside it."""
    entry = f"{name} ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz in this folder.\n\n"
    return compressed(f"{entry} -- {maintainer}  {format_datetime(when)}\n".encode())


def manual_page(version: str, when: datetime) -> bytes:
    """edgeroot(1), compressed: every command by the first sentence of its help."""
    from edgeroot.cli.frame import root

    top = root()
    context = click.Context(top, info_name="edgeroot")
    lines = [
        f'.TH EDGEROOT 1 "{when:%Y-%m-%d}" "edgeroot {version}" "User Commands"',
        *(".SH NAME", r"edgeroot \- Parsec security service and its client"),
        *(".SH SYNOPSIS", ".B edgeroot", r"\fICOMMAND\fR [\fIARGUMENT\fR]..."),
        *(".SH DESCRIPTION", _text(top.help or "")),
        *(".SH COMMANDS", r"\fBedgeroot\fR \fICOMMAND\fR \fB\-\-help\fR says more of each."),
    ]
    for name in sorted(top.list_commands(context)):
        command = top.get_command(context, name)
        if command is not None and not command.hidden:
            lines += [".TP", rf"\fB{_text(name)}\fR", _text(command.get_short_help_str(500))]
    lines.append(".SH FILES")
    for path, meaning in _FILES.items():
        lines += [".TP", rf"\fI{_text(path)}\fR", _text(meaning)]
    return compressed(("\n".join(lines) + "\n").encode())


def compressed(content: bytes) -> bytes:
    """The same bytes for the same content, as small as they get."""
    return gzip.compress(content, 9, mtime=0)


def digests(tree: Path) -> str:
    """By which ``dpkg --verify`` knows the files of a package."""
    return "".join(sorted(_digests(tree)))


def _digests(tree: Path) -> Iterator[str]:
    for path in tree.rglob("*"):
        place = path.relative_to(tree)
        if path.is_file() and not path.is_symlink() and place.parts[0] not in {"DEBIAN", "etc"}:
            yield f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {place}\n"


def _text(said: str) -> str:
    r"""For troff, which takes a backslash and a hyphen for its own, and a line with a dot in front for a request."""
    escaped = " ".join(said.partition("\f")[0].split()).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
