"""What a worker notes of each answered request: the audit line, the metrics."""

from __future__ import annotations

from time import time
from typing import Final

from edgeroot.daemon.audit import AuditLog
from edgeroot.service.call import Call
from edgeroot.wire.opcodes import SPECS, Opcode
from edgeroot.wire.status import ResponseStatus

_OPCODE_NAMES: Final = {opcode: Opcode(opcode).display_name for opcode in SPECS}
_STATUS_NAMES: Final = {int(status): status.display_name for status in ResponseStatus}
_REFUSED: Final = frozenset(
    {ResponseStatus.AUTHENTICATION_ERROR, ResponseStatus.ADMIN_OPERATION, ResponseStatus.NOT_AUTHENTICATED}
)


class RequestObserver:
    """Audits operations on keys and clients, and every refusal of an identity. Other requests leave no line."""

    def __init__(self, audit: AuditLog | None) -> None:
        self._audit = audit

    def __call__(self, call: Call, status: int, duration_ns: int) -> None:
        if self._audit is None:
            return
        opcode = call.request.opcode
        if call.key_name is None and opcode != Opcode.DELETE_CLIENT and status not in _REFUSED:
            return
        identity = call.identity
        provider = call.provider
        peer = call.peer
        self._audit.record(
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
        )

    @property
    def pending(self) -> bool:
        """Whether there are lines to be written out."""
        return self._audit is not None and self._audit.pending_bytes > 0

    def flush(self) -> None:
        """Write out what has been noted."""
        if self._audit is not None and self._audit.pending_bytes:
            self._audit.flush(time())
