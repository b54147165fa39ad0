"""The PSA Firmware Update API over the real update agent: its states, and what may be done in which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

import pytest

from edgeroot.abi.rpc_status import RpcError
from edgeroot.abi.services import FIRMWARE_UPDATE
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.firmware_update.agent import UpdateAgent
from edgeroot.secure.partitions.firmware_update.boot import boot_info
from edgeroot.secure.partitions.firmware_update.layout import BLOCK_BYTES, FirmwareImage, FlashLayout
from edgeroot.secure.partitions.firmware_update.service import FirmwareUpdateService
from edgeroot.secure.runtime.api import Caller, Reply
from edgeroot.tee.api import DEFAULT_BUFFER_BYTES, NoSuchServiceError, Session, TeeRefusedError, Transport
from edgeroot.tee.psa import FwuComponentState, PsaClient
from edgeroot.tee.psa.firmware_update import SUCCESS_REBOOT

S = FwuComponentState
CAPACITY_BYTES: Final = 8192
LAYOUT: Final = FlashLayout(
    location=UUID(int=0xF1A5),
    images=tuple(
        FirmwareImage(
            image_type=UUID(int=number), areas=(UUID(int=number + 1), UUID(int=number + 2)), max_size_bytes=size
        )
        for number, size in ((0xA0, BLOCK_BYTES), (0xB0, 8 * BLOCK_BYTES))
    ),
)
NEW: Final = {0: b"new firmware" * 100, 1: bytes(range(256)) * 100}  # the second takes several calls


class Flash:
    def __init__(self) -> None:
        self.content = bytearray(b"\xff" * LAYOUT.size_bytes)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self.content[offset : offset + size_bytes])

    def erase(self, offset: int, size_bytes: int) -> None:
        self.write(offset, b"\xff" * size_bytes)

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data

    def sync(self) -> None:
        pass


class AgentSession(Session):
    capacity_bytes = CAPACITY_BYTES

    def __init__(self, device: Device) -> None:
        self._device = device

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        if len(request) > self.capacity_bytes:
            raise ValueError("the request is too long")
        try:
            reply = self._device.service.call(Caller(1, 1), opcode, request, capacity_bytes=self.capacity_bytes)
        except RpcError as error:
            raise TeeRefusedError(str(error)) from error
        assert isinstance(reply, Reply)
        return reply.status, reply.payload

    def close(self) -> None:
        pass


class Device(Transport):
    """A secure world that offers firmware update alone."""

    def __init__(self) -> None:
        self.flash = Flash()
        self.boots = 0
        self.reboot()

    def reboot(self) -> None:
        self.boots += 1
        boot = boot_info(self.flash, LAYOUT, bytes([self.boots]) * 32)
        self.bank = boot.bank
        self.service = FirmwareUpdateService(UpdateAgent(self.flash, LAYOUT, boot))

    def image(self, component: int) -> bytes:
        """What runs."""
        offset = LAYOUT.offset_of(LAYOUT.images[component], self.bank)
        return self.flash.read(offset, len(NEW[component]))

    def open_session(self, service: UUID, *, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Session:
        if service != FIRMWARE_UPDATE:
            raise NoSuchServiceError("there is firmware update alone")
        return AgentSession(self)

    def close(self) -> None:
        pass


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def client(device: Device) -> PsaClient:
    return PsaClient(device)


def states(client: PsaClient) -> list[FwuComponentState]:
    return [info.state for info in client.fwu_components()]


def prepare(client: PsaClient, *components: int) -> None:
    for component in components:
        client.psa_fwu_start(component)
        client.psa_fwu_write(component, 0, NEW[component])
        client.psa_fwu_finish(component)


def status_of(call: Callable[..., object], *arguments: object) -> PsaStatus:
    with pytest.raises(PsaError) as caught:
        call(*arguments)
    return caught.value.status


def test_what_is_told_of_components(client: PsaClient) -> None:
    assert states(client) == [S.READY, S.READY]
    info = client.psa_fwu_query(1)
    assert (info.max_size, info.version, info.error) == (8 * BLOCK_BYTES, 0, PsaStatus.SUCCESS)
    assert info.location == LAYOUT.images[1].image_type
    for component in (-1, 2, 255):
        assert status_of(client.psa_fwu_query, component) is PsaStatus.DOES_NOT_EXIST


def test_an_update_of_two_components_is_tried_and_accepted(client: PsaClient, device: Device) -> None:
    client.psa_fwu_start(0)
    assert states(client) == [S.WRITING, S.READY]
    client.psa_fwu_write(0, 0, NEW[0][:100])
    client.psa_fwu_write(0, 100, NEW[0][100:])
    client.psa_fwu_finish(0)
    prepare(client, 1)
    assert states(client) == [S.CANDIDATE, S.CANDIDATE]
    assert client.psa_fwu_install() == SUCCESS_REBOOT
    assert states(client) == [S.STAGED, S.STAGED] == states(PsaClient(device))
    device.reboot()
    assert [device.image(0), device.image(1)] == [NEW[0], NEW[1]]
    assert states(client) == [S.TRIAL, S.TRIAL]
    client.psa_fwu_accept()
    assert states(client) == [S.UPDATED, S.UPDATED]
    assert states(PsaClient(device)) == [S.READY, S.READY]
    client.psa_fwu_clean(0)
    assert states(client) == [S.READY, S.UPDATED]
    device.reboot()
    assert device.image(0) == NEW[0]


def test_what_is_not_updated_is_taken_along(client: PsaClient, device: Device) -> None:
    prepare(client, 0, 1)
    client.psa_fwu_install()
    device.reboot()
    client.psa_fwu_accept()
    client = PsaClient(device)
    client.psa_fwu_start(0)
    client.psa_fwu_write(0, 0, b"newer")
    client.psa_fwu_finish(0)
    client.psa_fwu_install()
    device.reboot()
    assert device.image(0).startswith(b"newer")
    assert device.image(1) == NEW[1]


def test_a_trial_that_is_rejected(client: PsaClient, device: Device) -> None:
    prepare(client, 0, 1)
    client.psa_fwu_install()
    device.reboot()
    tried = device.bank
    assert client.psa_fwu_reject() == SUCCESS_REBOOT
    assert states(client) == [S.REJECTED, S.REJECTED]
    for function in (client.psa_fwu_accept, client.psa_fwu_reject, client.psa_fwu_install):
        assert status_of(function) is PsaStatus.BAD_STATE
    assert status_of(client.psa_fwu_start, 0) is PsaStatus.BAD_STATE
    device.reboot()
    assert device.bank != tried
    assert states(client) == [S.READY, S.READY]


def test_what_is_staged_can_be_rejected_before_it_boots(client: PsaClient, device: Device) -> None:
    prepare(client, 1)
    client.psa_fwu_install()
    assert client.psa_fwu_reject(PsaStatus.INSUFFICIENT_DATA) == 0
    info = client.psa_fwu_query(1)
    assert (info.state, info.error) == (S.FAILED, PsaStatus.INSUFFICIENT_DATA)
    bank = device.bank
    device.reboot()
    assert device.bank == bank
    assert states(PsaClient(device)) == [S.READY, S.READY]


@pytest.mark.parametrize("finished", [False, True])
def test_an_update_is_cancelled_as_one(client: PsaClient, *, finished: bool) -> None:
    prepare(client, 0)
    client.psa_fwu_start(1)
    if finished:
        client.psa_fwu_finish(1)
    client.psa_fwu_cancel(1)
    assert states(client) == [S.FAILED, S.FAILED]
    assert status_of(client.psa_fwu_install) is PsaStatus.BAD_STATE
    assert status_of(client.psa_fwu_start, 0) is PsaStatus.BAD_STATE
    for component in (0, 1):
        client.psa_fwu_clean(component)
    prepare(client, 0)
    assert client.psa_fwu_install() == SUCCESS_REBOOT


def test_nothing_is_installed_while_something_is_written(client: PsaClient) -> None:
    prepare(client, 0)
    client.psa_fwu_start(1)
    assert status_of(client.psa_fwu_install) is PsaStatus.BAD_STATE
    client.psa_fwu_write(1, 0, b"image")
    client.psa_fwu_finish(1)
    assert client.psa_fwu_install() == SUCCESS_REBOOT


@pytest.mark.parametrize("state", [S.READY, S.WRITING, S.CANDIDATE, S.STAGED, S.TRIAL])
def test_what_a_state_does_not_allow_changes_nothing(
    client: PsaClient, device: Device, state: FwuComponentState
) -> None:
    if state is not S.READY:
        client.psa_fwu_start(0)
        client.psa_fwu_write(0, 0, b"image")
    if state not in (S.READY, S.WRITING):
        client.psa_fwu_finish(0)
    if state in (S.STAGED, S.TRIAL):
        client.psa_fwu_install()
    if state is S.TRIAL:
        device.reboot()
    allowed: dict[FwuComponentState, set[str]] = {
        S.READY: {"start"},
        S.WRITING: {"write", "finish", "cancel"},
        S.CANDIDATE: {"install", "cancel"},
        S.STAGED: {"reject"},
        S.TRIAL: {"accept", "reject"},
    }
    functions: dict[str, Callable[[], object]] = {
        "start": lambda: client.psa_fwu_start(0),
        "write": lambda: client.psa_fwu_write(0, 0, b"block"),
        "finish": lambda: client.psa_fwu_finish(0),
        "cancel": lambda: client.psa_fwu_cancel(0),
        "clean": lambda: client.psa_fwu_clean(0),
        "install": client.psa_fwu_install,
        "accept": client.psa_fwu_accept,
        "reject": client.psa_fwu_reject,
    }
    assert client.psa_fwu_query(0).state is state
    for name in functions.keys() - allowed[state]:
        before = bytes(device.flash.content)
        assert status_of(functions[name]) is PsaStatus.BAD_STATE, name
        assert bytes(device.flash.content) == before
        assert client.psa_fwu_query(0).state is state


@pytest.mark.parametrize("offset", [0, 4, 6, -1])
def test_blocks_leave_no_gap_and_do_not_overlap(client: PsaClient, offset: int) -> None:
    client.psa_fwu_start(0)
    client.psa_fwu_write(0, 0, b"image")
    assert status_of(client.psa_fwu_write, 0, offset, b"more") is PsaStatus.INVALID_ARGUMENT
    client.psa_fwu_write(0, 5, b"more")


def test_an_image_that_is_too_long(client: PsaClient) -> None:
    client.psa_fwu_start(0)
    assert status_of(client.psa_fwu_write, 0, 0, bytes(BLOCK_BYTES + 1)) is PsaStatus.INSUFFICIENT_STORAGE
    client.psa_fwu_write(0, 0, bytes(BLOCK_BYTES))
    assert status_of(client.psa_fwu_write, 0, BLOCK_BYTES, b"x") is PsaStatus.INSUFFICIENT_STORAGE


def test_what_this_agent_does_not_have(client: PsaClient) -> None:
    assert status_of(client.psa_fwu_start, 0, b"manifest") is PsaStatus.NOT_SUPPORTED
    assert status_of(client.psa_fwu_request_reboot) is PsaStatus.NOT_SUPPORTED
    assert status_of(client.psa_fwu_start, 7) is PsaStatus.DOES_NOT_EXIST


def test_an_agent_that_restarts_has_forgotten_what_was_prepared(client: PsaClient, device: Device) -> None:
    prepare(client, 0)
    device.reboot()
    assert status_of(client.psa_fwu_install) is PsaStatus.BAD_STATE
    assert states(PsaClient(device)) == [S.READY, S.READY]


def test_two_clients_do_not_mix_their_updates(client: PsaClient, device: Device) -> None:
    client.psa_fwu_start(0)
    other = PsaClient(device)
    prepare(other, 0)  # begins anew
    assert status_of(client.psa_fwu_write, 0, 0, b"late") is not PsaStatus.SUCCESS
    other.psa_fwu_install()
    device.reboot()
    assert device.image(0) == NEW[0]


def test_without_firmware_update() -> None:
    class Nothing(Device):
        def open_session(self, service: UUID, *, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Session:
            raise NoSuchServiceError("nothing")

    assert status_of(PsaClient(Nothing()).psa_fwu_query, 0) is PsaStatus.NOT_SUPPORTED
