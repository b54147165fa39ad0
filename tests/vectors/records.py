"""Reads files of known answers in the form of NIST's: lines ``Key = value``, sections in brackets, comments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cryptography_vectors


def packaged(name: str, *last: str, every: int = 1) -> list[dict[str, str]]:
    """The records of a file of the package cryptography-vectors, or every n-th of them; see :func:`records`."""
    with cryptography_vectors.open_vector_file(name, "r") as file:
        return list(records(file.read(), *last))[::every]


def own(name: str, *last: str) -> list[dict[str, str]]:
    """The records of a file beside this one."""
    return list(records((Path(__file__).parent / name).read_text(), *last))


def records(text: str, *last: str) -> Iterator[dict[str, str]]:
    """Ends a record at each line whose key is one of ``last``.

    Names are in lower case. What was said in a section or an earlier record holds until it is said again.
    """
    endings = {name.lower() for name in last}
    state: dict[str, str] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            state["section"] = line.strip("[]").strip()
            for part in state["section"].split(","):
                name, _, value = part.partition("=")
                state[name.strip().lower()] = value.strip()
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            state["last"] = name.strip().lower()
            state[state["last"]] = value.strip()
            if state["last"] in endings:
                yield dict(state)
