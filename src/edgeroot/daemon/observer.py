"""What a worker notes of each answered request: the audit line, the metrics."""

from __future__ import annotations

from time import time
from typing import Final

from edgeroot.daemon.audit import AuditLog
from edgeroot.daemon.metrics import WorkerCounters
from edgeroot.service.call import Call
from edgeroot.wire.opcodes import SPECS, Opcode
from edgeroot.wire.status import ResponseStatus

_OPCODE_NAMES: Final = {opcode: Opcode(opcode).display_name for opcode in SPECS}
_STATUS_NAMES: Final = {int(status): status.display_name for status in ResponseStatus}
_DELETE_CLIENT: Final = Opcode.DELETE_CLIENT
_REFUSED: Final = frozenset(
    {ResponseStatus.AUTHENTICATION_ERROR, ResponseStatus.ADMIN_OPERATION, ResponseStatus.NOT_AUTHENTICATED}
)
# With an identity claimed and none found, these say that it was not believed.
_NOT_BELIEVED: Final = frozenset(
    {
        ResponseStatus.AUTHENTICATION_ERROR,
        ResponseStatus.AUTHENTICATOR_NOT_REGISTERED,
        ResponseStatus.INVALID_ENCODING,
    }
)


class RequestObserver:
    """Audits operations on keys and clients, every refusal of an identity, and whatever is beyond a quota.

    Other requests leave no line.
    """

    def __init__(self, audit: AuditLog | None) -> None:
        self._audit = audit

    def __call__(self, call: Call, status: int, duration_ns: int) -> None:
        if self._audit is None:
            return
        opcode = call.request.opcode
        if call.key_name is None and opcode != _DELETE_CLIENT and status not in _REFUSED and call.beyond is None:
            return
        identity = call.identity
        provider = call.provider
        peer = call.peer
        self._audit.record(
            (
                time(),
                _OPCODE_NAMES.get(opcode, "-"),
                "core-provider" if provider is None else provider.name,
                call.request.auth_type if identity is None else identity.authenticator,
                "" if identity is None else identity.application,
                call.key_name or "",
                _STATUS_NAMES[status],
                duration_ns // 1000,
                peer.uid,
                peer.pid,
                call.beyond or "",
            )
        )

    @property
    def pending(self) -> bool:
        """Whether there are lines to be written out."""
        return self._audit is not None and self._audit.pending

    def flush(self) -> None:
        """Write out what has been noted."""
        if self._audit is not None and self._audit.pending:
            self._audit.flush(time())


class MeteredObserver(RequestObserver):
    """Counts every request, too. A class of its own, so that without metrics nobody even asks whether to count."""

    def __init__(self, audit: AuditLog | None, counters: WorkerCounters) -> None:
        super().__init__(audit)
        self._counters = counters
        self._answered = counters.answered
        self._lost_lines = 0

    def __call__(self, call: Call, status: int, duration_ns: int) -> None:
        request = call.request
        self._answered(request.opcode, status, duration_ns)
        if status in _NOT_BELIEVED and call.identity is None:
            self._counters.authentication_failed(request.auth_type)
        if call.beyond is not None:
            self._counters.beyond_quota(call.beyond)
        super().__call__(call, status, duration_ns)

    def flush(self) -> None:
        super().flush()
        audit = self._audit
        if audit is not None and audit.lost_lines_total != self._lost_lines:
            self._counters.audit_lost(audit.lost_lines_total - self._lost_lines)
            self._lost_lines = audit.lost_lines_total
