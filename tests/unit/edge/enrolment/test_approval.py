"""Requests that come with bootstrap tokens: one is approved, and no second one gets through wherever it is cut off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.edge.enrolment.admission import KnownNode
from edgeroot.edge.enrolment.approval import Asked, is_ours, settle
from edgeroot.edge.enrolment.approver import Approver
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.request import make_request
from edgeroot.edge.enrolment.tokens import (
    GROUP,
    Binding,
    is_token_id,
    new_token,
    seconds_of,
    secret_data,
    time_of,
    token_id_of,
)

DEVICE = "01" + "ab" * 32
KEY = ec.generate_private_key(ec.SECP256R1())
TOKEN = "abc123"
EXPIRES_S = 1_800_000_600
ASKED = Asked(
    name="csr-1",
    uid="uid-1",
    user=f"system:bootstrap:{TOKEN}",
    groups=frozenset({GROUP, "system:bootstrappers"}),
    usages=frozenset({"client auth", "digital signature"}),
    made_at_s=EXPIRES_S - 500,
    pem=make_request("gate-1", KEY),
)


class Cut(Exception):
    """The approver was killed here."""


@dataclass
class Memory:
    """A cluster with one token. ``cut_before`` names the step before which the approver dies."""

    node: KnownNode | None = field(default_factory=lambda: KnownNode(name="gate-1", device=DEVICE, token_id=TOKEN))
    used_by: str | None = ""
    decided: dict[str, str] = field(default_factory=dict)
    cut_before: str = ""
    waiting: list[Asked] = field(default_factory=list)
    away: frozenset[str] = frozenset()

    def _step(self, name: str) -> None:
        if self.cut_before == name:
            self.cut_before = ""
            raise Cut

    def claim(self, token_id: str, request_uid: str) -> Binding:
        self._step("claim")
        if token_id != TOKEN or self.used_by is None:
            raise RefusedError("the token is used up")
        if self.used_by not in ("", request_uid):
            raise RefusedError("the token was used by another request")
        self.used_by = request_uid
        return Binding(node_name="gate-1", device=DEVICE, expires_at_s=EXPIRES_S)

    def drop(self, token_id: str) -> None:
        self._step("drop")
        assert token_id == TOKEN
        self.used_by = None

    def edge_node(self, name: str) -> KnownNode | None:
        assert name == "gate-1"
        return self.node

    def approve(self, asked: Asked, words: str) -> None:
        self._step("approve")
        if asked.name in self.away:
            raise AwayError("not now")
        self.decided[asked.name] = f"approved: {words}"

    def deny(self, asked: Asked, words: str) -> None:
        self._step("deny")
        self.decided[asked.name] = f"denied: {words}"

    def requests(self) -> list[Asked]:
        return [one for one in self.waiting if one.name not in self.decided]

    def settled(self) -> list[str]:
        return [one.user for one in self.waiting if one.name in self.decided]


def second(user: str = ASKED.user) -> Asked:
    return replace(ASKED, name="csr-2", uid="uid-2", user=user)


def test_one_request_is_approved_and_the_token_gone() -> None:
    memory = Memory()
    assert settle(ASKED, memory) == f"approved csr-1: device {DEVICE} is node gate-1"
    assert memory.used_by is None
    settle(second(), memory)
    assert memory.decided["csr-1"].startswith("approved")
    assert memory.decided["csr-2"] == "denied: the token is used up"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: replace(one, pem=make_request("gate-2", KEY)), "the token is for node gate-1"),
        (lambda one: replace(one, pem=b"none"), "no certificate request"),
        (lambda one: replace(one, usages=frozenset({"client auth", "server auth"})), "digital signature and client"),
        (lambda one: replace(one, made_at_s=EXPIRES_S + 1), "expired"),
    ],
)
def test_a_wrong_request_costs_the_token(change: Callable[[Asked], Asked], words: str) -> None:
    memory = Memory()
    settle(change(ASKED), memory)
    assert memory.decided["csr-1"].startswith("denied")
    assert words in memory.decided["csr-1"]
    settle(second(), memory)
    assert memory.decided["csr-2"] == "denied: the token is used up"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (None, "another device's now, or nobody's"),
        (KnownNode(name="gate-1", device="01" + "cd" * 32, token_id=TOKEN), "another device's now"),
        (KnownNode(name="gate-1", device=DEVICE, token_id="new123"), "enrolled again"),
        (KnownNode(name="gate-1", device=DEVICE, token_id=TOKEN, state="Contraindicated"), "contraindicated"),
    ],
)
def test_what_has_changed_since_the_token_was_made(node: KnownNode | None, words: str) -> None:
    memory = Memory(node=node)
    settle(ASKED, memory)
    assert memory.decided["csr-1"].startswith("denied")
    assert words in memory.decided["csr-1"]


def test_a_user_of_the_group_without_a_token() -> None:
    memory = Memory()
    settle(replace(ASKED, user="system:bootstrap:../../x"), memory)
    assert "no bootstrap token" in memory.decided["csr-1"]
    assert memory.used_by == ""


@pytest.mark.parametrize("step", ["claim", "approve", "drop"])
@pytest.mark.parametrize("other_first", [True, False])
def test_wherever_it_is_cut_off_one_request_gets_through(step: str, other_first: bool) -> None:
    memory = Memory(cut_before=step, waiting=[ASKED])
    with pytest.raises(Cut):
        settle(ASKED, memory)
    # It starts anew, and finds a second request with the same token.
    memory.waiting = [second(), ASKED] if other_first else [ASKED, second()]
    for one in memory.requests():
        settle(one, memory)
    approved = [name for name, words in memory.decided.items() if words.startswith("approved")]
    assert len(approved) <= 1
    assert len(memory.decided) == 2
    assert memory.used_by is None
    if step != "claim" and not other_first:
        assert approved == ["csr-1"]


@pytest.mark.parametrize("step", ["drop", "deny"])
def test_a_denial_that_is_cut_off_lets_nothing_through(step: str) -> None:
    memory = Memory(cut_before=step)
    wrong = replace(ASKED, pem=make_request("gate-2", KEY))
    with pytest.raises(Cut):
        settle(wrong, memory)
    settle(wrong, memory)
    settle(second(), memory)
    assert all(words.startswith("denied") for words in memory.decided.values())


def test_strangers_requests_are_left_alone() -> None:
    memory = Memory(waiting=[replace(ASKED, groups=frozenset({"system:nodes"}))])
    assert not is_ours(memory.waiting[0])
    assert Approver(memory).round()
    assert memory.decided == {}


def test_a_request_that_cannot_be_decided_does_not_hold_up_others() -> None:
    memory = Memory(waiting=[ASKED, second(user="nobody")], away=frozenset({"csr-1"}))
    assert not Approver(memory).round()
    assert memory.decided == {"csr-2": "denied: whoever has no bootstrap token of ours is not of its group"}
    memory.away = frozenset()
    assert Approver(memory).round()
    assert memory.decided["csr-1"].startswith("approved")


def test_tokens() -> None:
    token = new_token(EXPIRES_S)
    assert is_token_id(token.token_id)
    assert token.text() == f"{token.token_id}.{token.secret}"
    assert len(token.secret) == 16
    assert token.secret not in repr(token)
    assert new_token(EXPIRES_S).secret != token.secret
    assert token_id_of(f"system:bootstrap:{token.token_id}") == token.token_id
    for user in (token.token_id, "system:bootstrap:", "system:bootstrap:ABCDEF", "system:node:a"):
        assert token_id_of(user) is None
    data = secret_data(token, node_name="gate-1", device=DEVICE)
    assert data["auth-extra-groups"] == "c3lzdGVtOmJvb3RzdHJhcHBlcnM6ZWRnZXJvb3Q="
    assert seconds_of(time_of(EXPIRES_S)) == EXPIRES_S
