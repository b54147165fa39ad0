"""The verifier's feed of results (``GET /fleet/v1/changes``), as it is read: nothing in it is believed unchecked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgeroot.edge.controller.records import Component, Result, Tier, time_of

_WORDS_MAX: Final = 1024
_NAME_MAX: Final = 256
_COMPONENTS_MAX: Final = 64
_TIME_MAX_S: Final = 253_402_300_799  # 9999-12-31, where the written form of a time ends


class FeedError(Exception):
    """The verifier cannot be reached, refuses, or does not answer as a verifier does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``cursor`` asks for what comes after it; ``more``: that is there already."""

    cursor: str
    more: bool
    results: tuple[Result, ...]


def read_page(body: bytes) -> Page:
    """FeedError for what is no page. A device about which it is not clear what is said has no result."""
    try:
        document = json.loads(body)
        cursor, more, devices = document["cursor"], document["more"], document["devices"]
        if not isinstance(cursor, str) or not cursor or not isinstance(more, bool):
            raise TypeError("cursor is a text, more a truth value")
        return Page(cursor=cursor, more=more, results=tuple(_result(one) for one in devices))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FeedError(f"the verifier does not answer with a page of its feed: {error}") from error


def _result(entry: Mapping[str, Any]) -> Result:
    device = entry["device"]
    if not isinstance(device, str) or not 0 < len(device) <= _NAME_MAX:
        raise TypeError("a device has a name")
    try:
        tier = Tier(entry["status"])
        timeless = tier in {Tier.NONE, Tier.CONTRAINDICATED}
        return Result(
            device=device,
            tier=tier,
            reason=_words(entry.get("reason")),
            evaluated_s=_time(entry.get("evaluated_at"), optional=timeless),
            expires_s=_time(entry.get("expires_at"), optional=timeless),
            lifecycle=_words(entry.get("lifecycle")),
            components=_components(entry.get("components") or ()),
        )
    except (ValueError, KeyError, TypeError) as error:
        words = _words(f"what the verifier says about the device is not understood: {error}")
        return Result(device=device, tier=Tier.NONE, reason=words)


def _components(entries: object) -> tuple[Component, ...]:
    if not isinstance(entries, list | tuple):
        raise TypeError("components are a list")
    return tuple((_words(one["type"]), _words(one.get("version"))) for one in entries[:_COMPONENTS_MAX])


def _words(value: object) -> str:
    """One line of printable text, cut where it is too long for a status."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    line = " ".join(value[: 2 * _WORDS_MAX].split())
    return "".join(one if one.isprintable() else "?" for one in line)[:_WORDS_MAX]


def _time(value: object, *, optional: bool) -> int:
    if value is None and optional:
        return 0
    if not isinstance(value, str):
        raise TypeError("a time is a text")
    seconds = time_of(value)
    if not 0 < seconds <= _TIME_MAX_S:
        raise ValueError(f"{value[:40]!r} is no time of a result")
    return seconds
