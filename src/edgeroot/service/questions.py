"""What a worker asks about a token that it does not know, and the answers: as values, and as bytes on a channel.

Whoever answers may have to ask others on the network, so nobody else waits for it: see :mod:`edgeroot.service.tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Final

from edgeroot.wire.status import ResponseStatus

_QUESTION: Final = Struct("<di")  # deadline, slot; the token is the rest
_ANSWER: Final = Struct("<Hd")  # status, the end of the verdict; the text is the rest
_NO_SLOT: Final = -1


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """Who holds this token, if it comes through this slot? None is no slot: a listener without any.

    Two are equal that have the same answer. ``deadline_s`` is on the machine's monotonic clock.
    """

    token: bytes = field(repr=False)
    slot: int | None
    deadline_s: float = field(default=0.0, compare=False)

    def due(self, deadline_s: float) -> TokenQuestion:
        """This question with another deadline."""
        return replace(self, deadline_s=deadline_s)

    def encode(self) -> bytes:
        return _QUESTION.pack(self.deadline_s, _NO_SLOT if self.slot is None else self.slot) + self.token

    @classmethod
    def decode(cls, data: bytes) -> TokenQuestion:
        deadline_s, slot = _QUESTION.unpack_from(data)
        return cls(data[_QUESTION.size :], None if slot == _NO_SLOT else slot, deadline_s)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """``text`` is the application's name if the status is SUCCESS, otherwise why there is none.

    ``good_until_s`` is in seconds since the epoch: from then on the token has to be asked about again.
    """

    status: ResponseStatus
    text: str
    good_until_s: float = 0.0

    def encode(self) -> bytes:
        return _ANSWER.pack(self.status, self.good_until_s) + self.text.encode("utf-8", "replace")

    @classmethod
    def decode(cls, data: bytes) -> TokenAnswer:
        status, good_until_s = _ANSWER.unpack_from(data)
        return cls(ResponseStatus(status), data[_ANSWER.size :].decode(), good_until_s)


LOST: Final = TokenAnswer(ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE, "the identity process ended")
"""Instead of an answer, if whoever was asked did not survive the question."""
