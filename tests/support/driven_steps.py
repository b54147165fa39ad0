"""The crypto partition behind an operation in steps: every call goes to the real one, unless a test speaks instead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from edgeroot.abi.rpc_status import RpcError
from edgeroot.providers.api import BackEndAnswer, BackEndCall, Steps
from edgeroot.providers.trusted_services.errors import failed
from edgeroot.providers.trusted_services.native import NoLink
from edgeroot.providers.trusted_services.steps import TrustedServicesSteps
from edgeroot.tee.api import TeeRefusedError
from tests.support.crypto_partition import CAPACITY_BYTES, Context, World

_T = TypeVar("_T")


@dataclass(slots=True)
class DrivenPartition:
    """``instead`` has answers by opcode, each used once, in order; None among them lets the call through."""

    capacity_bytes: int = CAPACITY_BYTES
    context: Context = field(default_factory=lambda: World().context())
    instead: dict[int, list[BackEndAnswer | None]] = field(default_factory=dict)
    calls: list[BackEndCall] = field(default_factory=list)

    @property
    def opcodes(self) -> list[int]:
        return [call.opcode for call in self.calls]

    @property
    def open_operations(self) -> int:
        """How many contexts of multi-part operations the partition has."""
        families = self.context.packed._core._families
        return sum(len(pool.operations) for family in families for pool in family.contexts._pools.values())

    def steps(self) -> TrustedServicesSteps:
        return TrustedServicesSteps(NoLink(), capacity_bytes=self.capacity_bytes)

    def run(self, steps: Steps[_T]) -> _T:
        """Drive the steps to their end; ``calls`` are then those of these steps."""
        self.calls.clear()
        answer: BackEndAnswer | None = None
        while True:
            try:
                call = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                result: _T = end.value
                return result
            self.calls.append(call)
            answer = self._answer(call)

    def _answer(self, call: BackEndCall) -> BackEndAnswer:
        instead = self.instead.get(call.opcode)
        if instead and (answer := instead.pop(0)) is not None:
            return answer
        assert len(call.request) <= self.capacity_bytes, "the request does not fit into the buffer"
        try:
            return BackEndAnswer(*self.context.call(call.opcode, call.request, capacity_bytes=self.capacity_bytes))
        except RpcError as error:
            return failed(TeeRefusedError(str(error)))
