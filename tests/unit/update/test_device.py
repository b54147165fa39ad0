"""All images are installed or none, each refusal is an error of its own, and only what works is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.evidence import EvidenceError
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.psa import FwuComponentState
from edgeroot.update import errors
from edgeroot.update.device import accept, check_place, check_signers, components, install, reject
from edgeroot.update.health import check_health
from edgeroot.update.installed import note_installed, running_release
from tests.unit.update.agent import MAX_BYTES, MemoryAgent, Refusal
from tests.unit.update.releases import FIRST, SECOND, release

S = FwuComponentState
MANAGER = IMAGE_TYPES["manager"]


def nothing(_name: str, _count: int) -> None:
    pass


def test_all_images_of_a_release_are_installed_at_once() -> None:
    agent = MemoryAgent()
    told: list[tuple[str, int]] = []

    install(agent, release(SECOND), lambda name, count: told.append((name, count)))

    assert agent.all_are(S.STAGED)
    assert set(agent.bank.values()) == {image.data for image in release(SECOND)}
    assert told == [(image.name, len(image.data)) for image in release(SECOND)]


def test_a_revoked_signer_is_named_before_anything_is_written() -> None:
    images = release(SECOND)
    signer = images[0].signer_id
    check_signers(images, {bytes(32)})

    with pytest.raises(errors.RevokedKeyError, match=f"{images[0].name} is signed by a revoked key, {signer.hex()}"):
        check_signers(images, {bytes(32), signer})


@pytest.mark.parametrize(
    ("function", "status", "error"),
    [
        ("finish", PsaStatus.INVALID_SIGNATURE, errors.ForgedImageError),
        ("finish", PsaStatus.NOT_PERMITTED, errors.ReplayedError),
        ("finish", PsaStatus.INVALID_ARGUMENT, errors.WrongDeviceError),
        ("write", PsaStatus.INSUFFICIENT_STORAGE, errors.OversizedError),
        ("install", PsaStatus.DEPENDENCY_NEEDED, errors.DependencyError),
        ("install", PsaStatus.GENERIC_ERROR, errors.UpdateError),
        ("start", PsaStatus.BAD_STATE, errors.WrongOrderError),
        ("write", PsaStatus.COMMUNICATION_FAILURE, errors.NoSecureWorldError),
        ("query", PsaStatus.NOT_SUPPORTED, errors.NoSecureWorldError),
    ],
)
@pytest.mark.parametrize("call", [1, 5])
def test_whatever_fails_the_device_is_as_it_was(
    function: str, status: PsaStatus, error: type[errors.UpdateError], call: int
) -> None:
    at = call if function in ("start", "write", "finish") else 1
    agent = MemoryAgent(Refusal(function, status, at))

    with pytest.raises(error) as caught:
        install(agent, release(SECOND), nothing)

    assert type(caught.value) is error
    assert agent.all_are(S.READY)
    assert agent.bank == {}
    install(agent, release(SECOND), nothing)
    assert agent.all_are(S.STAGED)


def test_what_is_no_status_is_not_swallowed() -> None:
    class Interrupted(MemoryAgent):
        def psa_fwu_finish(self, component: int) -> None:
            raise KeyboardInterrupt

    agent = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        install(agent, release(SECOND), nothing)
    assert agent.all_are(S.READY)


@pytest.mark.parametrize("state", [S.STAGED, S.TRIAL, S.REJECTED])
def test_nothing_is_fetched_for_a_device_that_could_not_take_it(state: FwuComponentState) -> None:
    agent = MemoryAgent()
    check_place(components(agent), {MANAGER: MAX_BYTES})
    with pytest.raises(errors.OversizedError, match="manager has 1048577 bytes"):
        check_place(components(agent), {MANAGER: MAX_BYTES + 1})
    agent.infos = agent.infos[1:]
    with pytest.raises(errors.WrongDeviceError, match="no place for the image manager"):
        check_place(components(agent), {MANAGER: 1})
    agent.put(state)
    with pytest.raises(errors.WrongOrderError, match=r"restart|decide"):
        check_place(components(agent), {MANAGER: 1})


def test_only_a_trial_is_accepted_and_only_an_update_rejected() -> None:
    agent = MemoryAgent()
    with pytest.raises(errors.WrongOrderError, match="nothing to accept"):
        accept(agent)
    with pytest.raises(errors.WrongOrderError, match="nothing to reject"):
        reject(agent)
    agent.put(S.STAGED)
    with pytest.raises(errors.WrongOrderError, match="restart the secure world"):
        accept(agent)
    assert reject(agent) is False
    agent.put(S.TRIAL)
    assert reject(agent) is True
    with pytest.raises(errors.WrongOrderError, match="rejected and still runs"):
        accept(agent)
    agent.put(S.TRIAL)
    accept(agent)
    assert agent.all_are(S.UPDATED)


def test_the_release_that_runs_is_the_installed_one_or_the_managers(tmp_path: Path) -> None:
    agent = MemoryAgent(version=SECOND)
    assert running_release(tmp_path, agent) == SECOND
    note_installed(tmp_path, Version(7), release(SECOND))
    assert running_release(tmp_path, agent) == Version(7)
    assert running_release(tmp_path, MemoryAgent(version=FIRST)) == FIRST  # it was rolled back
    assert running_release(tmp_path, MemoryAgent(version=Version(0))) is None
    (tmp_path / "installed.json").write_bytes(b"{")
    assert running_release(tmp_path, agent) == SECOND


class Partitions:
    """What answers wrongly, if anything, by the partition's name."""

    def __init__(self, **wrong: bytes | Exception) -> None:
        self._wrong = wrong
        self._count = 0
        self.objects: dict[int, bytes] = {}

    def _answer(self, name: str, right: bytes) -> bytes:
        wrong = self._wrong.get(name, right)
        if isinstance(wrong, Exception):
            raise wrong
        return wrong

    def psa_crypto_init(self) -> None:
        pass

    def psa_generate_random(self, output_size: int) -> bytes:
        self._count += 1
        return self._answer("crypto", bytes([self._count]) * output_size)

    def psa_initial_attest_get_token(self, auth_challenge: bytes) -> bytes:
        return self._answer("attestation", auth_challenge)

    def psa_ps_set(self, uid: int, data: bytes) -> None:
        self.objects[uid] = data

    def psa_ps_get(self, uid: int, data_offset: int, data_size: int) -> bytes:
        return self._answer("storage", self.objects[uid][data_offset:data_size])

    def psa_ps_remove(self, uid: int) -> None:
        del self.objects[uid]


@pytest.mark.parametrize("name", ["crypto", "storage", "attestation"])
@pytest.mark.parametrize(
    "wrong", [b"\0" * 32, b"", PsaError(PsaStatus.COMMUNICATION_FAILURE, "gone"), EvidenceError("x")]
)
def test_each_partition_has_to_answer_as_it_should(name: str, wrong: bytes | Exception) -> None:
    with pytest.raises(errors.UnhealthyError, match=f"the partition {name} does not work.*edgeroot update reject"):
        check_health(Partitions(**{name: wrong}))
