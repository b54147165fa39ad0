"""The feed over HTTP: what has changed behind a cursor, as soon as something has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from edgeroot.verifier.feed import Cursor, UnknownCursorError
from edgeroot.verifier.ports import FeedRecords
from edgeroot.verifier.server import views
from edgeroot.verifier.server.http import HttpError, Request, Response, json_response
from edgeroot.verifier.server.query import number, only

CHANGES_ROUTE: Final = "/fleet/v1/changes"
CHANGES_MAX: Final = 1_000
CHANGES_DEFAULT: Final = 500
WAIT_MAX_S: Final = 30


def changes(records: FeedRecords, request: Request) -> Response:
    """A page of the feed. If it is empty, it is worth waiting for as long as the request says. HttpError."""
    query = only(request, "after", "wait", "limit")
    limit = number(query, "limit", most=CHANGES_MAX) or CHANGES_DEFAULT
    wait_s = _wait_s(query)
    try:
        after = Cursor.parse(query["after"]) if "after" in query else None
        page = records.feed_page(after, limit)
    except UnknownCursorError as error:
        raise HttpError(410, str(error)) from error
    said = {
        "cursor": page.cursor.text(),
        "more": page.more,
        "devices": [views.change_view(one) for one in page.changes],
    }
    # Who has no cursor yet is to have one, even of nothing.
    hold_s = wait_s if after is not None and not page.changes else 0
    return replace(json_response(200, said), hold_s=hold_s)


def _wait_s(query: Mapping[str, str]) -> int:
    text = query.get("wait", "0")
    if not text.isascii() or not text.isdecimal() or len(text) > 2 or int(text) > WAIT_MAX_S:
        raise HttpError(400, f"wait is a number of seconds from 0 to {WAIT_MAX_S}")
    return int(text)
