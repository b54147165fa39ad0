"""A route: what a request asks for, and what has to hold before it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.http import Request, Response

Handler: TypeAlias = Callable[[Request, str], Response]
"""Answers a request; the text is what the path names. HttpError."""


@dataclass(frozen=True, slots=True)
class Route:
    """``access`` None: anybody."""

    operation: str
    handler: Handler
    body_max_bytes: int = 0
    answer_type: str = ""
    access: Access | None = None
    gives_result: bool = False
    """To who does not accept the answer, but a result by itself: that instead."""
    brings_news: bool = False
    """Whoever waits for news asks again once it is answered."""


Routes: TypeAlias = dict[tuple[str, str], Route]
"""By method and path."""
