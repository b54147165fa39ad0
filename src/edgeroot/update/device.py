"""The device's side of an update: what runs, and images into it, through the PSA Firmware Update API.

Either all images of a release are installed together, or the device is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol
from uuid import UUID

from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.psa import FwuComponentInfo, FwuComponentState
from edgeroot.update import errors
from edgeroot.update.images import ReleaseImage
from edgeroot.update.releases import image_name

_BLOCK_BYTES: Final = 1 << 20
_S = FwuComponentState
Written = Callable[[str, int], None]
"""Called with an image's name and how many bytes of it are written."""
_STAGED: Final = "an update is installed and waits: restart the secure world, or take it back (edgeroot update reject)"
_TRIAL: Final = "an update is on trial: decide on it first (edgeroot update accept, or reject)"
_REJECTED: Final = "an update was rejected and still runs: restart the secure world first"
_BUSY: Final = {_S.STAGED: _STAGED, _S.TRIAL: _TRIAL, _S.REJECTED: _REJECTED}


class Agent(Protocol):
    """What is used of :class:`edgeroot.tee.psa.PsaClient`."""

    def fwu_components(self) -> tuple[FwuComponentInfo, ...]: ...
    def psa_fwu_start(self, component: int, manifest: bytes = b"") -> None: ...
    def psa_fwu_write(self, component: int, image_offset: int, block: bytes) -> None: ...
    def psa_fwu_finish(self, component: int) -> None: ...
    def psa_fwu_install(self) -> int: ...
    def psa_fwu_cancel(self, component: int) -> None: ...
    def psa_fwu_clean(self, component: int) -> None: ...
    def psa_fwu_accept(self) -> None: ...
    def psa_fwu_reject(self) -> int: ...
    def psa_fwu_query(self, component: int) -> FwuComponentInfo: ...


def components(agent: Agent) -> tuple[FwuComponentInfo, ...]:
    """NoSecureWorldError if nobody answers."""
    with agent_errors("the update agent"):
        return agent.fwu_components()


def state_of(found: Sequence[FwuComponentInfo]) -> FwuComponentState:
    """Of the whole: what has to be dealt with before anything else."""
    return next((state for state in _BUSY if any(one.state is state for one in found)), _S.READY)


def check_place(found: Sequence[FwuComponentInfo], size_bytes: Mapping[UUID, int]) -> None:
    """Whether these images could go into the device now, before anything is fetched."""
    state = state_of(found)
    if state is not _S.READY:
        raise errors.WrongOrderError(_BUSY[state])
    places = {one.location: one.max_size for one in found}
    for image_type, count in size_bytes.items():
        if image_type not in places:
            raise errors.WrongDeviceError(
                f"this device has no place for the image {image_name(image_type)}. "
                "Install the release for this kind of device"
            )
        if count > places[image_type]:
            raise errors.OversizedError(
                f"{image_name(image_type)} has {count} bytes, and its place in the device {places[image_type]}. "
                "Ask whoever publishes for a smaller one"
            )


def check_signers(images: Sequence[ReleaseImage], revoked: Collection[bytes]) -> None:
    """RevokedKeyError for an image that is signed with one of these keys (their hashes), before anything is written.

    The device refuses it as well, and its answer is that of any other signature that is none of its maker's.
    """
    for image in images:
        if image.signer_id in revoked:
            raise errors.RevokedKeyError(
                f"{image.name} is signed by a revoked key, {image.signer_id.hex()}. Publish it signed with another "
                "root key of the device"
            )


def install(agent: Agent, images: Sequence[ReleaseImage], written: Written) -> None:
    """Write all of them and install them at once. UpdateError, and then the device is as it was."""
    numbers = {info.location: number for number, info in enumerate(components(agent))}
    try:
        for image in images:
            with agent_errors(image.name):
                _write(agent, numbers[image.image_type], image, written)
        with agent_errors("the release"):
            agent.psa_fwu_install()
    except BaseException:
        _clear(agent, [numbers[image.image_type] for image in images])
        raise


def check_trial(agent: Agent) -> None:
    """WrongOrderError if nothing is on trial."""
    state = state_of(components(agent))
    if state is not _S.TRIAL:
        raise errors.WrongOrderError(_BUSY.get(state, "nothing is on trial, so there is nothing to accept"))


def accept(agent: Agent) -> None:
    """WrongOrderError if nothing is on trial."""
    check_trial(agent)
    with agent_errors("the update"):
        agent.psa_fwu_accept()


def reject(agent: Agent) -> bool:
    """Whether the secure world has to restart for it. WrongOrderError if there is nothing to reject."""
    state = state_of(components(agent))
    if state not in (_S.STAGED, _S.TRIAL):
        raise errors.WrongOrderError(_BUSY.get(state, "no update waits or is on trial, so there is nothing to reject"))
    with agent_errors("the update"):
        return agent.psa_fwu_reject() != 0


def _write(agent: Agent, number: int, image: ReleaseImage, written: Written) -> None:
    agent.psa_fwu_start(number)
    for start in range(0, len(image.data), _BLOCK_BYTES):
        block = image.data[start : start + _BLOCK_BYTES]
        agent.psa_fwu_write(number, start, block)
        written(image.name, start + len(block))
    agent.psa_fwu_finish(number)


def _clear(agent: Agent, numbers: Sequence[int]) -> None:
    """Forget what was prepared, as far as the device still answers."""
    try:
        with agent_errors("the update"):
            if not _cancel(agent, numbers):
                # Only one that failed is left, which the agent still keeps room for: cancel it as a new one.
                for number in _in_state(agent, numbers, _S.FAILED)[:1]:
                    agent.psa_fwu_clean(number)
                    agent.psa_fwu_start(number)
                    agent.psa_fwu_cancel(number)
            for number in _in_state(agent, numbers, _S.FAILED):
                agent.psa_fwu_clean(number)
    except errors.UpdateError:
        pass  # the first error says more, and the agent forgets what was prepared when the next update begins


def _cancel(agent: Agent, numbers: Sequence[int]) -> bool:
    for number in _in_state(agent, numbers, _S.WRITING, _S.CANDIDATE)[:1]:
        agent.psa_fwu_cancel(number)  # and with it all others
        return True
    return False


def _in_state(agent: Agent, numbers: Sequence[int], *states: FwuComponentState) -> list[int]:
    return [number for number in numbers if agent.psa_fwu_query(number).state in states]


@contextmanager
def agent_errors(what: str) -> Iterator[None]:
    """PSA statuses as errors of an update."""
    try:
        yield
    except PsaError as error:
        raise _refusal(error.status, what, str(error)) from error


def _refusal(status: PsaStatus, what: str, detail: str) -> errors.UpdateError:
    kind, text = _REFUSALS.get(status, (errors.UpdateError, "the device refuses {what} ({detail}). Look at its log"))
    return kind(text.format(what=what, detail=detail))


_REFUSALS: Final[Mapping[PsaStatus, tuple[type[errors.UpdateError], str]]] = {
    PsaStatus.INVALID_SIGNATURE: (
        errors.ForgedImageError,
        "the device finds no signature of its maker's on {what}, or it was changed. Publish what the maker has signed",
    ),
    PsaStatus.NOT_PERMITTED: (
        errors.ReplayedError,
        "the device takes {what} no more: its security counter is below the device's. Install a later release",
    ),
    PsaStatus.INVALID_ARGUMENT: (
        errors.WrongDeviceError,
        "{what} is for another component, interpreter or kind of machine, or cut off. Install this device's release",
    ),
    PsaStatus.INSUFFICIENT_STORAGE: (
        errors.OversizedError,
        "{what} is larger than its place in the device. Ask whoever publishes for a smaller one",
    ),
    PsaStatus.DEPENDENCY_NEEDED: (
        errors.DependencyError,
        "{what} needs a version of an image that is neither in it nor in the device. Install an earlier one first",
    ),
    PsaStatus.BAD_STATE: (
        errors.WrongOrderError,
        "the device's state does not allow it now ({detail}). See `edgeroot update status`",
    ),
    PsaStatus.COMMUNICATION_FAILURE: (
        errors.NoSecureWorldError,
        "nobody answers for {what} ({detail}). Start the secure world, and call as a user who may",
    ),
    PsaStatus.NOT_SUPPORTED: (
        errors.NoSecureWorldError,
        "this secure world has nothing for {what} ({detail}). Check which firmware it runs",
    ),
}
