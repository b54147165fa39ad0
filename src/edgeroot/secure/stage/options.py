"""What the first stage reads of the command line, which is the partition manager's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from edgeroot.secure.stage.places import ONE_TIME_MEMORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of all options of the manager, those that its first stage has to know."""

    state: Path
    images: Path | None
    failed_banks: frozenset[int]


def read_options(arguments: Sequence[str]) -> Options:
    """By hand, as argparse takes longer to load than the rest of this takes to run."""
    values: dict[str, list[str]] = {}
    for at, argument in enumerate(takewhile(lambda one: one != "--", arguments)):  # behind that there is no option
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            values.setdefault(name, []).append(value if equals else "".join(arguments[at + 1 : at + 2]))
    images = values.get("--images")
    return Options(
        state=Path(values.get("--state", [""])[-1]),
        images=None if images is None else Path(images[-1]),
        failed_banks=frozenset(int(one) for one in values.get("--failed-bank", []) if one.isdecimal()),
    )


def is_provisioned(arguments: Sequence[str]) -> bool:
    """Whether the device was told anything, or images are named, so that the first stage has something to decide."""
    options = read_options(arguments)
    return options.images is not None or (options.state / ONE_TIME_MEMORY).exists()
