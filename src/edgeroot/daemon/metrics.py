"""What the workers count: rows of numbers in memory that they share with the supervisor, which adds them up.

Each worker writes to its own row only, so that no counter needs a lock. A row outlives its worker: the next one with
the same index counts on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from mmap import mmap
from typing import Final

from edgeroot.service.quotas import Limit
from edgeroot.wire.opcodes import SPECS
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus

_WORD_BYTES: Final = 8
_US_NS: Final = 1000
_MS_NS: Final = 1_000_000
_S_NS: Final = 1_000_000_000
# Upper bounds, inclusive: from a hash of a few bytes to the generation of a long RSA key.
BUCKET_BOUNDS_NS: Final = (
    *(us * _US_NS for us in (20, 50, 100, 200, 500)),
    *(ms * _MS_NS for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(s * _S_NS for s in (1, 2, 5, 10)),
)
_BUCKETS: Final = len(BUCKET_BOUNDS_NS) + 1

STATUSES: Final = tuple(ResponseStatus)
OPCODES: Final[tuple[int | None, ...]] = (None, *sorted(int(opcode) for opcode in SPECS))
"""None stands for requests in which no operation could be recognised."""
AUTH_TYPES: Final[tuple[int | None, ...]] = (None, *(int(auth_type) for auth_type in AuthType if auth_type))
"""None stands for numbers that the protocol does not know."""

_STATUS_AT: Final = {int(status): index for index, status in enumerate(STATUSES)}
# Of each operation: one counter a status, then one a bucket, then the sum of the durations in nanoseconds.
_BUCKETS_AT: Final = len(STATUSES)
_SUM_AT: Final = _BUCKETS_AT + _BUCKETS
_OPERATION_WORDS: Final = _SUM_AT + 1
_OPERATION_AT: Final = {opcode: index * _OPERATION_WORDS for index, opcode in enumerate(OPCODES)}
_AUTH_AT: Final = {auth_type: len(OPCODES) * _OPERATION_WORDS + index for index, auth_type in enumerate(AUTH_TYPES)}
_UNKNOWN_AUTH_AT: Final = _AUTH_AT[None]
_ACCEPTED_AT: Final = len(OPCODES) * _OPERATION_WORDS + len(AUTH_TYPES)
_REFUSED_AT: Final = _ACCEPTED_AT + 1
_JOBS_AT: Final = _ACCEPTED_AT + 2
_WRITES_AT: Final = _ACCEPTED_AT + 3
_AUDIT_LOST_AT: Final = _ACCEPTED_AT + 4
_QUESTIONS_AT: Final = _ACCEPTED_AT + 5
_BEYOND_AT: Final = {limit: _ACCEPTED_AT + 6 + index for index, limit in enumerate(Limit)}
_ROW_WORDS: Final = _ACCEPTED_AT + 6 + len(Limit)


class WorkerCounters:
    """A worker's row."""

    __slots__ = ("_row",)

    def __init__(self, row: memoryview) -> None:
        self._row = row

    def answered(self, opcode: int, status: int, duration_ns: int) -> None:
        row = self._row
        at = _OPERATION_AT.get(opcode, 0)
        row[at + _STATUS_AT[status]] += 1
        row[at + _BUCKETS_AT + bisect_left(BUCKET_BOUNDS_NS, duration_ns)] += 1
        row[at + _SUM_AT] += duration_ns

    def answered_outside(self, opcode: int | None, status: int) -> None:
        """An answer that the pipeline did not give, to what is no request."""
        self._row[_OPERATION_AT.get(opcode, 0) + _STATUS_AT[status]] += 1

    def authentication_failed(self, auth_type: int) -> None:
        self._row[_AUTH_AT.get(auth_type, _UNKNOWN_AUTH_AT)] += 1

    def accepted(self, connections: int) -> None:
        self._row[_ACCEPTED_AT] += connections

    def refused(self) -> None:
        """A connection above its user's bound."""
        self._row[_REFUSED_AT] += 1

    def job(self) -> None:
        self._row[_JOBS_AT] += 1

    def token_question(self) -> None:
        """A request that waits for the identity process to judge its token."""
        self._row[_QUESTIONS_AT] += 1

    def beyond_quota(self, limit: Limit) -> None:
        self._row[_BEYOND_AT[limit]] += 1

    def store_write(self) -> None:
        self._row[_WRITES_AT] += 1

    def audit_lost(self, lines: int) -> None:
        self._row[_AUDIT_LOST_AT] += lines


class CounterTable:
    """The rows of the workers of one configuration; made before they are forked."""

    def __init__(self, workers: int) -> None:
        self._words = memoryview(mmap(-1, workers * _ROW_WORDS * _WORD_BYTES)).cast("Q")
        self._workers = workers

    def counters(self, worker: int) -> WorkerCounters:
        return WorkerCounters(self._words[worker * _ROW_WORDS : (worker + 1) * _ROW_WORDS])

    def rows(self) -> list[memoryview]:
        return [self._words[worker * _ROW_WORDS : (worker + 1) * _ROW_WORDS] for worker in range(self._workers)]


class Totals:
    """Sums over workers, read by name. Adding a table that is over keeps what its workers have counted."""

    def __init__(self, values: Sequence[int] = (0,) * _ROW_WORDS) -> None:
        self._values = values

    def plus(self, *tables: CounterTable) -> Totals:
        rows = [row for table in tables for row in table.rows()]
        return Totals([sum(column) for column in zip(self._values, *rows, strict=True)])

    def answers(self, opcode: int | None) -> dict[ResponseStatus, int]:
        """How many answers there were, by status; statuses that never occurred are left out."""
        at = _OPERATION_AT[opcode]
        counts = self._values[at : at + len(STATUSES)]
        return {status: count for status, count in zip(STATUSES, counts, strict=True) if count}

    def durations(self, opcode: int | None) -> tuple[Sequence[int], int]:
        """How many durations fell into each bucket, the last one unbounded, and their sum in nanoseconds."""
        at = _OPERATION_AT[opcode]
        return self._values[at + _BUCKETS_AT : at + _SUM_AT], self._values[at + _SUM_AT]

    def authentication_failures(self, auth_type: int | None) -> int:
        return self._values[_AUTH_AT[auth_type]]

    @property
    def accepted(self) -> int:
        return self._values[_ACCEPTED_AT]

    @property
    def refused(self) -> int:
        return self._values[_REFUSED_AT]

    @property
    def jobs(self) -> int:
        return self._values[_JOBS_AT]

    @property
    def store_writes(self) -> int:
        return self._values[_WRITES_AT]

    @property
    def token_questions(self) -> int:
        return self._values[_QUESTIONS_AT]

    def beyond_quota(self, limit: Limit) -> int:
        return self._values[_BEYOND_AT[limit]]

    @property
    def audit_lost(self) -> int:
        return self._values[_AUDIT_LOST_AT]
