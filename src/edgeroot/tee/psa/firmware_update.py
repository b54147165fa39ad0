"""Firmware update (PSA Firmware Update API 1.0) over an update agent of the A-profile (DEN0118).

A component is a kind of image of the agent's, numbered by its place in the image directory. The agent keeps two banks:
what is prepared goes into the one that does not run, all components of one update together, and takes a trial boot. So

* one update is prepared at a time, by one client; preparing is forgotten when the agent restarts;
* to cancel one component of an update is to cancel the update: its other components fail with it;
* the restart is the system's: :meth:`FirmwareUpdate.psa_fwu_request_reboot` is not supported.

What the agent remembers tells READY, STAGED, TRIAL and REJECTED apart in every process; the other states are known to
the client that caused them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final
from uuid import UUID

from edgeroot.abi import fwu
from edgeroot.abi.fwu import FwuFunction, FwuStatus
from edgeroot.abi.fwu_objects import FwuMetadata, FwuObjectError, ImageDirectory
from edgeroot.abi.rpc_status import RpcError
from edgeroot.abi.services import FIRMWARE_UPDATE
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.psa.calls import Calls, Message

SUCCESS_REBOOT: Final = 1
"""``PSA_SUCCESS_REBOOT``: done, and in effect after a reboot."""
_NEEDS_TRIAL: Final = 1
_FRAME_BYTES: Final = 12  # function, handle and length before the data of a write
_STATUS_OF: Final[dict[int, PsaStatus]] = {
    FwuStatus.UNKNOWN: PsaStatus.INVALID_ARGUMENT,
    FwuStatus.BUSY: PsaStatus.BAD_STATE,
    FwuStatus.OUT_OF_BOUNDS: PsaStatus.INSUFFICIENT_STORAGE,
    FwuStatus.AUTH_FAIL: PsaStatus.INVALID_SIGNATURE,
    FwuStatus.NO_PERMISSION: PsaStatus.NOT_PERMITTED,
    FwuStatus.DENIED: PsaStatus.BAD_STATE,
    FwuStatus.NOT_AVAILABLE: PsaStatus.BAD_STATE,
}


class FwuComponentState(IntEnum):
    """``PSA_FWU_READY`` and so on."""

    READY = 0
    WRITING = 1
    CANDIDATE = 2
    STAGED = 3
    FAILED = 4
    TRIAL = 5
    REJECTED = 6
    UPDATED = 7


_S = FwuComponentState


@dataclass(frozen=True, slots=True, kw_only=True)
class FwuComponentInfo:
    """``psa_fwu_component_info_t``. Sizes in bytes; ``location`` is the type of the agent's image.

    ``version`` is what the agent says of the image that runs: 0 of one that does not read versions.
    """

    state: FwuComponentState
    error: PsaStatus
    version: int
    max_size: int
    location: UUID


class AgentError(PsaError):
    """The agent has refused a function; ``agent_status`` is its own word for it."""

    def __init__(self, agent_status: int, detail: str) -> None:
        super().__init__(_STATUS_OF.get(agent_status, PsaStatus.GENERIC_ERROR), detail)
        self.agent_status = agent_status


@dataclass(slots=True)
class _Known:
    """What this client knows of a component that the agent does not tell."""

    state: FwuComponentState
    handle: int = 0
    position: int = 0
    error: PsaStatus = PsaStatus.SUCCESS


class FirmwareUpdate:
    """Every method raises PsaError; BAD_STATE, with nothing changed, for what the state does not allow."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[int, _Known] = {}

    def psa_fwu_query(self, component: int) -> FwuComponentInfo:
        """DOES_NOT_EXIST if there is no such component."""
        directory = self._directory()
        if not 0 <= component < len(directory.images):
            raise PsaError(PsaStatus.DOES_NOT_EXIST, f"there are {len(directory.images)} components")
        image = directory.images[component]
        known = self._known.get(component)
        return FwuComponentInfo(
            state=self._agent_state(directory) if known is None else known.state,
            error=PsaStatus.SUCCESS if known is None else known.error,
            version=image.version,
            max_size=image.max_size_bytes,
            location=image.image_type,
        )

    def fwu_components(self) -> tuple[FwuComponentInfo, ...]:
        """All of them in the order of their numbers; the API has no function for it."""
        return tuple(self.psa_fwu_query(component) for component in range(len(self._directory().images)))

    def psa_fwu_start(self, component: int, manifest: bytes = b"") -> None:
        """NOT_SUPPORTED for a manifest apart from the image: it is within."""
        if manifest:
            raise PsaError(PsaStatus.NOT_SUPPORTED, "an image brings its manifest with it")
        info = self.psa_fwu_query(component)
        _need(info.state, _S.READY)
        if not self._preparing():
            self._change_agent(FwuFunction.BEGIN_STAGING, fwu.BeginStagingRequest(0))
        opened = self._function(FwuFunction.OPEN, fwu.OpenRequest(info.location, fwu.OpenType.WRITE), fwu.OpenResponse)
        self._known[component] = _Known(_S.WRITING, opened.handle)

    def psa_fwu_write(self, component: int, image_offset: int, block: bytes) -> None:
        """Blocks come one after the other, without gaps; INVALID_ARGUMENT for another offset.

        INSUFFICIENT_STORAGE for what goes beyond the component's ``max_size``.
        """
        known = self._in_state(component, _S.WRITING)
        if image_offset != known.position:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"the next block is that at {known.position}")
        step = self._calls.room_bytes(FIRMWARE_UPDATE) - _FRAME_BYTES
        for start in range(0, len(block), step):
            piece = block[start : start + step]
            self._change_agent(FwuFunction.WRITE_STREAM, fwu.WriteStreamRequest(known.handle, piece))
            known.position += len(piece)

    def psa_fwu_finish(self, component: int) -> None:
        """The image is complete.

        The component fails, and it is an error, if the agent knows that the device would not boot it: INVALID_SIGNATURE
        (it was changed, or another has signed it), NOT_PERMITTED (its security counter is below the device's),
        INVALID_ARGUMENT (it is cut off, or for another component, device or interpreter).
        """
        known = self._in_state(component, _S.WRITING)
        try:
            self._change_agent(FwuFunction.COMMIT, fwu.CommitRequest(known.handle, _NEEDS_TRIAL, 0))
        except PsaError as error:
            known.state, known.error = _S.FAILED, error.status
            raise
        known.state = _S.CANDIDATE

    def psa_fwu_install(self) -> int:
        """All candidates at once: SUCCESS_REBOOT, and they are STAGED. BAD_STATE while an image is being written.

        DEPENDENCY_NEEDED, and they stay CANDIDATE, if one needs another version of an image that is not among them.
        """
        states = {known.state for known in self._known.values()}
        if _S.CANDIDATE not in states or _S.WRITING in states:
            raise PsaError(PsaStatus.BAD_STATE, "there is no candidate, or one that is not complete")
        try:
            self._change_agent(FwuFunction.END_STAGING, fwu.EmptyRequest())
        except AgentError as error:
            if error.agent_status == FwuStatus.NOT_AVAILABLE:  # with candidates it is what they need
                raise PsaError(PsaStatus.DEPENDENCY_NEEDED, "an image needs another one that is not there") from error
            raise
        self._known.clear()
        return SUCCESS_REBOOT

    def psa_fwu_cancel(self, component: int) -> None:
        """The component fails, and every other one that is being prepared."""
        self._in_state(component, _S.WRITING, _S.CANDIDATE)
        self._change_agent(FwuFunction.CANCEL_STAGING, fwu.EmptyRequest())
        for known in self._preparing():
            known.state = _S.FAILED

    def psa_fwu_clean(self, component: int) -> None:
        """Back to READY."""
        self._in_state(component, _S.FAILED, _S.UPDATED)
        del self._known[component]

    def psa_fwu_request_reboot(self) -> None:
        """NOT_SUPPORTED: restart the secure world, or the device."""
        raise PsaError(PsaStatus.NOT_SUPPORTED, "restart the secure world, or the device")

    def psa_fwu_accept(self) -> None:
        """Every component on trial is good: UPDATED."""
        directory = self._directory()
        _need(self._agent_state(directory), _S.TRIAL)
        for number, image in enumerate(directory.images):
            if not image.accepted:
                self._change_agent(FwuFunction.ACCEPT_IMAGE, fwu.AcceptImageRequest(image.image_type))
                self._known[number] = _Known(_S.UPDATED)

    def psa_fwu_reject(self, error: PsaStatus = PsaStatus.GENERIC_ERROR) -> int:
        """SUCCESS for components that were STAGED, and now have FAILED with this error.

        SUCCESS_REBOOT for those on TRIAL, which are REJECTED until the reboot brings the old ones back.
        """
        directory = self._directory()
        state = self._agent_state(directory)
        _need(state, _S.STAGED, _S.TRIAL)
        self._change_agent(FwuFunction.SELECT_PREVIOUS, fwu.EmptyRequest())
        if state is _S.TRIAL:
            return SUCCESS_REBOOT
        self._known = {number: _Known(_S.FAILED, error=error) for number in range(len(directory.images))}
        return 0

    # The agent

    def _directory(self) -> ImageDirectory:
        try:
            return ImageDirectory.decode(self._read(fwu.IMAGE_DIRECTORY))
        except FwuObjectError as error:
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error

    def _agent_state(self, directory: ImageDirectory) -> FwuComponentState:
        """From what the agent remembers. Every image that comes this way needs a trial: else they could not be told."""
        try:
            metadata = FwuMetadata.decode(self._read(fwu.FWU_METADATA))
        except FwuObjectError as error:
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error
        next_is_accepted = all(entry.banks[metadata.active_index].accepted for entry in metadata.images)
        runs_accepted = all(image.accepted for image in directory.images)
        if next_is_accepted:
            return _S.READY if runs_accepted else _S.REJECTED
        return _S.STAGED if runs_accepted else _S.TRIAL

    def _read(self, what: UUID) -> bytes:
        handle = self._function(FwuFunction.OPEN, fwu.OpenRequest(what, fwu.OpenType.READ), fwu.OpenResponse).handle
        data = b""
        while True:
            answer = self._function(FwuFunction.READ_STREAM, fwu.ReadStreamRequest(handle), fwu.ReadStreamResponse)
            data += answer.data
            if not answer.data or len(data) >= answer.total_bytes:
                break
        self._change_agent(FwuFunction.COMMIT, fwu.CommitRequest(handle, 0, 0))
        return data

    def _change_agent(self, function: FwuFunction, request: object) -> None:
        self._function(function, request, object)

    def _function(self, function: FwuFunction, request: object, expected: type[Message]) -> Message:
        layouts = fwu.OPERATIONS[function]
        body = fwu.encode_request(function, layouts.request.encode(request))
        status, response = self._calls.exchange(FIRMWARE_UPDATE, fwu.SERVICE_OPCODE, body)
        if status:
            raise AgentError(status, f"the update agent refuses {function.name}")
        try:
            answer = layouts.response.decode(fwu.decode_response(response)[1])
        except RpcError as error:
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error
        assert isinstance(answer, expected)
        return answer

    # This client

    def _preparing(self) -> list[_Known]:
        return [known for known in self._known.values() if known.state in (_S.WRITING, _S.CANDIDATE)]

    def _in_state(self, component: int, *states: FwuComponentState) -> _Known:
        known = self._known.get(component)
        _need(_S.READY if known is None else known.state, *states)
        assert known is not None
        return known


def _need(state: FwuComponentState, *allowed: FwuComponentState) -> None:
    if state not in allowed:
        raise PsaError(PsaStatus.BAD_STATE, f"not while {state.name}")
