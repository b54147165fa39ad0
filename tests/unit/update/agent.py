"""A device in memory, with the public interface of the PSA client's firmware update."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeroot.abi.firmware import IMAGE_TYPES, pack_version
from edgeroot.abi.mcuboot import Version
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.psa import FwuComponentInfo, FwuComponentState

S = FwuComponentState
FIRST = Version(1)
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """At this call of this function, the device says so."""

    function: str
    status: PsaStatus
    call: int = 1


class MemoryAgent:
    """``refusals`` are what goes wrong; ``bank`` is what was installed, by the components' numbers."""

    def __init__(self, *refusals: Refusal, version: Version = FIRST) -> None:
        self._refusals = refusals
        self._calls: dict[str, int] = {}
        self.written: dict[int, bytes] = {}
        self.bank: dict[int, bytes] = {}
        self.infos = [
            FwuComponentInfo(
                state=S.READY,
                error=PsaStatus.SUCCESS,
                version=pack_version(version),
                max_size=MAX_BYTES,
                location=image_type,
            )
            for image_type in IMAGE_TYPES.values()
        ]

    def all_are(self, state: FwuComponentState) -> bool:
        return {info.state for info in self.infos} == {state}

    def put(self, state: FwuComponentState, *numbers: int) -> None:
        for number in numbers or range(len(self.infos)):
            self.infos[number] = replace(self.infos[number], state=state)

    def fwu_components(self) -> tuple[FwuComponentInfo, ...]:
        self._called("query")
        return tuple(self.infos)

    def psa_fwu_query(self, component: int) -> FwuComponentInfo:
        return self.infos[component]

    def psa_fwu_start(self, component: int, manifest: bytes = b"") -> None:
        self._need(component, S.READY)
        self._called("start")
        assert not manifest
        self.written[component] = b""
        self.put(S.WRITING, component)

    def psa_fwu_write(self, component: int, image_offset: int, block: bytes) -> None:
        self._need(component, S.WRITING)
        assert image_offset == len(self.written[component])
        self._called("write")
        self.written[component] += block

    def psa_fwu_finish(self, component: int) -> None:
        self._need(component, S.WRITING)
        self.put(S.FAILED, component)
        self._called("finish")
        self.put(S.CANDIDATE, component)

    def psa_fwu_install(self) -> int:
        self._called("install")
        self.bank = dict(self.written)
        self.put(S.STAGED)
        return 1

    def psa_fwu_cancel(self, component: int) -> None:
        self._need(component, S.WRITING, S.CANDIDATE)
        self.written.clear()
        self.put(S.FAILED, *(n for n, info in enumerate(self.infos) if info.state in (S.WRITING, S.CANDIDATE)))

    def psa_fwu_clean(self, component: int) -> None:
        self._need(component, S.FAILED, S.UPDATED)
        self.put(S.READY, component)

    def psa_fwu_accept(self) -> None:
        self._called("accept")
        self.put(S.UPDATED)

    def psa_fwu_reject(self) -> int:
        trial = self.infos[0].state is S.TRIAL
        self.put(S.REJECTED if trial else S.FAILED)
        return int(trial)

    def _need(self, component: int, *states: FwuComponentState) -> None:
        if self.infos[component].state not in states:
            raise PsaError(PsaStatus.BAD_STATE, f"not while {self.infos[component].state.name}")

    def _called(self, function: str) -> None:
        self._calls[function] = self._calls.get(function, 0) + 1
        for refusal in self._refusals:
            if refusal.function == function and refusal.call == self._calls[function]:
                raise PsaError(refusal.status, "the device says so")
