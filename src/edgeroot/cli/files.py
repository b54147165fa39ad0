"""Input from arguments, files and standard input; output that is there whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.output import print_json, refuse_terminal
from edgeroot.cli.settings import current

STDIO: Final = "-"
INPUT_MAX_BYTES: Final = 1 << 30
"""What a command reads whole into memory at most."""


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """The file, or standard input for ``-``."""
    if path == STDIO:
        yield sys.stdin.buffer
        return
    with open(path, "rb") as file:
        yield file


def read_input(path: str) -> bytes:
    """All of a file, or of standard input for ``-``; CommandError if it is larger than INPUT_MAX_BYTES."""
    with open_input(path) as file:
        data = file.read(INPUT_MAX_BYTES + 1)
    if len(data) > INPUT_MAX_BYTES:
        raise CommandError(f"{path} is larger than {INPUT_MAX_BYTES >> 20} MiB: split it, or use encrypt-file")
    return data


def text_or_file(text: str | None, file: str | None) -> bytes:
    """The data that a command works on: its argument (in UTF-8), or the file or standard input that --file names."""
    if (text is None) == (file is None):
        raise click.UsageError("give either TEXT or --file FILE ('-' is standard input)")
    return os.fsencode(text) if text is not None else read_input(str(file))


def write_output(path: str | None, data: bytes, *, what: str, force: bool, mode: int = 0o666) -> None:
    """Binary or secret output to a file, or to standard output, though not to a terminal unless forced."""
    with open_output(path, what=what, force=force, mode=mode) as file:
        file.write(data)


def written(output: str | None, fields: Mapping[str, object]) -> None:
    """With --json, ``fields`` and the name of the file that a result went to, if it did not go to standard output."""
    if current().json and output not in (None, STDIO):
        print_json({**fields, "output": output})


@contextmanager
def open_output(path: str | None, *, what: str, force: bool, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file to write: it appears under its name, complete and on disk, when the block ends without an error.

    A file that is there is replaced only with ``force``. ``mode`` is reduced by the umask. None and ``-`` are standard
    output, which gets what is written at once.
    """
    if path is None or path == STDIO:
        refuse_terminal(what, force=force)
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    if not force and target.exists():
        raise CommandError(f"{path} exists: choose another name, or replace it with --force")
    if target.exists() and not target.is_file():  # a device or a pipe is written, not replaced
        with target.open("wb") as file:
            yield file
        return
    name = target.with_name(f".{target.name[:64]}.{os.urandom(6).hex()}")
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        if force:
            name.replace(target)
        else:
            _appear(name, target)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def _appear(name: Path, target: Path) -> None:
    """Give the file its name unless another has taken it meanwhile."""
    try:
        os.link(name, target)
    except FileExistsError as error:
        raise CommandError(f"{target} exists: choose another name, or replace it with --force") from error
    except OSError:  # a file system without hard links
        name.replace(target)
    else:
        name.unlink()
