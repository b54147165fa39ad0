from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.edge.controller.feed_page import FeedError, read_page
from edgeroot.edge.controller.records import Result, Tier, time_of

ENTRY: dict[str, Any] = {
    "device": "01ab",
    "status": "affirming",
    "reason": "everything is known",
    "evaluated_at": "2026-11-27T11:59:00Z",
    "expires_at": "2026-11-27T12:29:00Z",
    "lifecycle": "secured",
    "components": [{"type": "BL", "version": "1.0"}, {"type": "PRoT", "version": None}],
}


def page(*devices: object, **changed: object) -> bytes:
    return json.dumps({"cursor": "c1", "more": False, "devices": list(devices), **changed}).encode()


def only(entry: object) -> Result:
    return read_page(page(entry)).results[0]


def test_a_page_is_read() -> None:
    found = read_page(page(ENTRY, more=True))

    assert (found.cursor, found.more) == ("c1", True)
    assert found.results == (
        Result(
            device="01ab",
            tier=Tier.AFFIRMING,
            reason="everything is known",
            evaluated_s=time_of("2026-11-27T11:59:00Z"),
            expires_s=time_of("2026-11-27T12:29:00Z"),
            lifecycle="secured",
            components=(("BL", "1.0"), ("PRoT", "")),
        ),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 100_000,
        page(cursor=None),
        page(cursor=""),
        page(more=None),
        page(more="no"),
        page(devices=None),
        page(devices={"a": 1}),
        page({"status": "affirming"}),
        page({**ENTRY, "device": ""}),
        page({**ENTRY, "device": "x" * 257}),
        page(None),
        page("affirming"),
        b'{"cursor": "c", "more": false}',
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(FeedError, match="page of its feed"):
        read_page(body)


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "fine"},
        {"status": None},
        {"status": ["affirming"]},
        {"expires_at": None},
        {"evaluated_at": None},
        {"expires_at": "tomorrow"},
        {"expires_at": "2026-11-27T12:29:00"},  # of no time zone
        {"expires_at": 1795782540},
        {"expires_at": "1969-12-31T23:59:59Z"},
        {"reason": {}},
        {"components": "BL"},
        {"components": [{"version": "1.0"}]},
        {"components": ["BL"]},
    ],
)
def test_a_device_about_which_it_is_not_clear_what_is_said_has_no_result(changed: dict[str, Any]) -> None:
    found = only({**ENTRY, **changed})

    assert (found.device, found.tier) == ("01ab", Tier.NONE)
    assert "not understood" in found.reason


def test_a_contraindication_needs_no_times() -> None:
    found = only({"device": "01ab", "status": "contraindicated", "evaluated_at": None})

    assert (found.tier, found.evaluated_s, found.expires_s) == (Tier.CONTRAINDICATED, 0, 0)


def test_words_are_one_line_of_what_can_be_printed_and_not_too_long() -> None:
    found = only({**ENTRY, "reason": "a\n\x1b[31m b" + "c" * 5000, "lifecycle": "\u202esecured"})

    assert found.reason.startswith("a ?[31m bccc")
    assert len(found.reason) == 1024
    assert found.lifecycle == "?secured"


def test_more_components_than_a_status_holds_are_cut() -> None:
    found = only({**ENTRY, "components": [{"type": str(one), "version": "1"} for one in range(1000)]})

    assert len(found.components) == 64


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["cursor", "more", "devices", "device", "status", "expires_at", "components", "type"]),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_is_answered_is_a_page_or_an_error(document: object) -> None:
    try:
        read_page(json.dumps(document).encode())
    except FeedError:
        pass
