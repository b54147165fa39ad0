"""How far it is: a bar on a terminal, a line for each image otherwise, nothing with --json."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from edgeroot.cli.output import note
from edgeroot.cli.settings import current


@contextmanager
def shown(what: str, size_bytes: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Call what this gives with an image's name and how many bytes of it are done.

    ``size_bytes``, by names, may be filled until then.
    """
    if current().json:
        yield lambda _name, _count: None
    elif sys.stderr.isatty():
        with _bar(what, size_bytes) as update:
            yield update
    else:
        yield _lines(what, size_bytes)


def _lines(what: str, size_bytes: Mapping[str, int]) -> Callable[[str, int], None]:
    done: set[str] = set()

    def update(name: str, count: int) -> None:
        if name not in done and count >= size_bytes.get(name, count + 1):
            done.add(name)
            note(f"{what} {name}: {count} bytes")

    return update


@contextmanager
def _bar(what: str, size_bytes: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def update(name: str, count: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(f"{what} {name}", total=size_bytes.get(name))
            progress.update(tasks[name], completed=count)

        yield update
