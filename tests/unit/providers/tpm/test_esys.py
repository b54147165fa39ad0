"""Commands that are sent by hand, over a way to a TPM that says what it is told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeroot.providers.tpm.native import esys
from edgeroot.providers.tpm.native.esys import EsysConnection

COMMAND = b"\x80\x01 a command"


def response(code: int) -> bytes:
    return b"\x80\x01\x00\x00\x00\x0a" + code.to_bytes(4, "big")


class Way:
    """Answers with these codes in turn."""

    def __init__(self, codes: Sequence[int]) -> None:
        self.codes = list(codes)
        self.sent: list[bytes] = []

    def transmit(self, command: bytes) -> None:
        self.sent.append(command)

    def receive(self) -> bytes:
        return response(self.codes.pop(0))


def exchange(way: Way) -> bytes:
    connection = EsysConnection.__new__(EsysConnection)  # without a TPM
    vars(connection)["_tcti"] = way
    return connection._exchange(COMMAND)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(esys, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("busy", [0x908, 0x90A, 0x922, 0xB0922], ids=hex)
def test_a_command_is_sent_again_where_the_tpm_asks_for_it(waits: list[float], busy: int) -> None:
    way = Way([busy, busy, 0])
    assert exchange(way) == response(0)
    assert way.sent == [COMMAND] * 3
    assert len(waits) == 2
    assert waits[0] < waits[1]


def test_a_tpm_that_stays_busy_is_told_in_the_end(waits: list[float]) -> None:
    way = Way([0x922] * 100)
    assert exchange(way) == response(0x922)
    assert len(way.sent) < 10
    assert sum(waits) < 2


@pytest.mark.parametrize("code", [0, 0x921, 0x101, 0x9A2], ids=hex)
def test_other_answers_are_final(waits: list[float], code: int) -> None:
    way = Way([code])
    assert exchange(way) == response(code)
    assert waits == []
