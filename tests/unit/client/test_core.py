"""The core's decisions, driven without a front: discovery, credentials, broken connections, bad answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from edgeroot.client import DirectAuth, NoAuth, UnixPeerCredentials, errors, templates
from edgeroot.client.core import Core, Flow
from edgeroot.client.transport import Transmission, TransmissionFailedError
from edgeroot.psa import Algorithm, Hash, PsaError, PsaStatus, Secret
from edgeroot.testing.wire_simulator import (
    CORE,
    DIRECT,
    SOFTWARE,
    UNIX_PEER_CREDENTIALS,
    WireSimulator,
    constant,
    refusal,
)
from edgeroot.wire import operations as ops
from edgeroot.wire.framing import encode_response
from edgeroot.wire.header import FLAG_EXTENDED, FLAG_KEEP
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import AuthenticatorInfo, AuthType, CheckType, ProviderInfo
from edgeroot.wire.status import ResponseStatus

T = TypeVar("T")
TPM = ProviderInfo("1e4954a4-ff21-46d3-ab0c-661eeb667e1d", "TPM", "", 0, 1, 0, 3, "tpm-provider")
SECOND = ProviderInfo("2e4954a4-ff21-46d3-ab0c-661eeb667e1d", "TPM", "", 0, 1, 0, 16, "second")
SIGNATURE = constant(ops.PsaSignHashResult(b"signature"))
JWT_SVID = AuthenticatorInfo("", 0, 1, 0, AuthType.JWT_SVID)


def drive(flow: Flow[T], transmit: Callable[[Transmission], bytes]) -> T:
    try:
        transmission = next(flow)
        while True:
            try:
                response = transmit(transmission)
            except TransmissionFailedError as failure:
                transmission = flow.throw(failure)
            else:
                transmission = flow.send(response)
    except StopIteration as finished:
        result: T = finished.value
        return result


def ask(simulator: WireSimulator, flow: Flow[T]) -> T:
    return drive(flow, lambda transmission: simulator.answer(transmission.frame))


def names(simulator: WireSimulator) -> list[str]:
    return [type(operation).__name__ for operation in simulator.operations()]


@pytest.fixture
def simulator() -> WireSimulator:
    return WireSimulator({Opcode.PSA_SIGN_HASH: SIGNATURE}, providers=(TPM, SOFTWARE, SECOND, CORE))


# Discovery


def test_the_first_provider_and_authenticator_are_found_once(simulator: WireSimulator) -> None:
    core = Core()
    for _ in range(2):
        assert ask(simulator, core.sign_hash("k", Algorithm.ecdsa(Hash.SHA_256), b"h")) == b"signature"
    assert names(simulator) == ["ListProviders", "ListAuthenticators", "PsaSignHash", "PsaSignHash"]
    last = simulator.requests[-1]
    assert (last.provider, last.auth_type) == (3, AuthType.UNIX_PEER_CREDENTIALS)
    assert last.auth == os.geteuid().to_bytes(4, "little")


def test_what_needs_no_identity_is_asked_without(simulator: WireSimulator) -> None:
    ask(simulator, Core(auth=DirectAuth("me")).ping())
    assert [(request.auth_type, request.auth) for request in simulator.requests] == [(0, b"")]


@pytest.mark.parametrize("wanted", [1, SOFTWARE.uuid, SOFTWARE.uuid.upper(), "software-provider"])
def test_a_provider_can_be_named(simulator: WireSimulator, wanted: int | str) -> None:
    ask(simulator, Core(provider=wanted).sign_hash("k", Algorithm.ECDSA_ANY, b"h"))
    assert simulator.requests[-1].provider == 1


def test_a_further_instance_is_reached_through_the_extension(simulator: WireSimulator) -> None:
    ask(simulator, Core().view("second").sign_hash("k", Algorithm.ECDSA_ANY, b"h"))
    assert simulator.requests[-1].provider == 16
    assert simulator.requests[-1].flags & FLAG_EXTENDED


def test_an_unknown_provider_is_an_error_that_lists_the_known(simulator: WireSimulator) -> None:
    with pytest.raises(errors.NoProviderError, match="no provider 'hsm': choose one of 3 'tpm-provider'"):
        ask(simulator, Core(provider="hsm").provider_id())
    with pytest.raises(errors.NoProviderError, match="from 1 to 255"):
        Core(provider=0)


def test_a_service_without_cryptography_is_an_error() -> None:
    with pytest.raises(errors.NoProviderError, match="configure one"):
        ask(WireSimulator(providers=(CORE,)), Core().generate_random(1))


def test_a_view_shares_what_was_found_out(simulator: WireSimulator) -> None:
    core = Core()
    ask(simulator, core.sign_hash("k", Algorithm.ECDSA_ANY, b"h"))
    simulator.requests.clear()
    ask(simulator, core.view(1).sign_hash("k", Algorithm.ECDSA_ANY, b"h"))
    assert names(simulator) == ["PsaSignHash"]


@pytest.mark.parametrize(
    ("listed", "app_name", "auth_type"),
    [
        ((DIRECT, UNIX_PEER_CREDENTIALS), "app", AuthType.DIRECT),
        ((DIRECT, UNIX_PEER_CREDENTIALS), None, AuthType.UNIX_PEER_CREDENTIALS),
        ((JWT_SVID, DIRECT), "app", AuthType.DIRECT),
        ((UNIX_PEER_CREDENTIALS, DIRECT), "app", AuthType.UNIX_PEER_CREDENTIALS),
    ],
)
def test_the_first_authenticator_that_can_be_served_is_taken(
    listed: tuple[AuthenticatorInfo, ...], app_name: str | None, auth_type: AuthType
) -> None:
    simulator = WireSimulator({Opcode.LIST_KEYS: constant(ops.ListKeysResult(()))}, authenticators=listed)
    ask(simulator, Core(app_name=app_name).list_keys())
    assert simulator.requests[-1].auth_type == auth_type
    assert simulator.requests[-1].auth == (b"app" if auth_type == AuthType.DIRECT else UnixPeerCredentials().field())


@pytest.mark.parametrize(
    ("listed", "advice"), [((DIRECT,), "pass app_name"), ((JWT_SVID,), "mount one"), ((), "configure")]
)
def test_no_authenticator_says_what_to_do(listed: tuple[AuthenticatorInfo, ...], advice: str) -> None:
    with pytest.raises(errors.NoAuthenticatorError, match=advice):
        ask(WireSimulator(authenticators=listed), Core().list_keys())


def test_given_credentials_are_used_without_asking(simulator: WireSimulator) -> None:
    with pytest.raises(errors.NotAuthenticatedError):
        ask(simulator, Core(auth=NoAuth()).list_keys())
    assert names(simulator) == ["ListKeys"]


def test_a_service_that_was_configured_anew_is_discovered_anew(simulator: WireSimulator) -> None:
    core = Core()

    def sign() -> bytes:
        return ask(simulator, core.sign_hash("k", Algorithm.ECDSA_ANY, b"h"))

    sign()
    simulator.providers = (SOFTWARE, CORE)
    with pytest.raises(errors.ProviderNotRegisteredError):
        sign()
    assert sign() == b"signature"
    simulator.authenticators = (DIRECT,)
    with pytest.raises(errors.AuthenticatorNotRegisteredError):
        sign()
    with pytest.raises(errors.NoAuthenticatorError):
        sign()


# Broken connections


def failing(*failures: TransmissionFailedError) -> tuple[Callable[[Transmission], bytes], list[Transmission]]:
    """Fails so often, then answers with an empty success. Also gives the list of what was transmitted."""
    simulator = WireSimulator(dict.fromkeys(Opcode, constant()), authenticators=(DIRECT,))
    waiting, seen = list(failures), []

    def transmit(transmission: Transmission) -> bytes:
        seen.append(transmission)
        if waiting:
            raise waiting.pop(0)
        return simulator.answer(transmission.frame)

    return transmit, seen


def lost(*, reused: bool, complete: bool, timed_out: bool = False) -> TransmissionFailedError:
    return TransmissionFailedError("it broke", reused=reused, complete=complete, timed_out=timed_out)


def core() -> Core:
    return Core(provider=1, auth=DirectAuth("me"))


def changes() -> list[Flow[None]]:
    """Everything that creates or destroys."""
    return [
        core().generate_key("k", templates.ecdsa_p256()),
        core().import_key("k", templates.ecdsa_p256(), b"1"),
        core().destroy_key("k"),
        core().delete_client("c"),
    ]


def test_what_changes_nothing_is_sent_again_on_a_new_connection() -> None:
    transmit, seen = failing(lost(reused=True, complete=True))
    drive(core().verify_hash("k", Algorithm.ECDSA_ANY, b"h", b"s"), transmit)
    assert [transmission.fresh for transmission in seen] == [False, True]
    assert seen[0].frame == seen[1].frame


@pytest.mark.parametrize("index", range(4))
def test_what_creates_or_destroys_is_never_sent_twice(index: int) -> None:
    transmit, seen = failing(lost(reused=True, complete=True))
    with pytest.raises(errors.OutcomeUnknownError, match=r"unknown, see list_keys\(\)"):
        drive(changes()[index], transmit)
    assert len(seen) == 1


@pytest.mark.parametrize("index", range(4))
def test_what_was_not_sent_whole_cannot_have_been_done_and_is_sent_again(index: int) -> None:
    transmit, seen = failing(lost(reused=True, complete=False))
    drive(changes()[index], transmit)
    assert [transmission.fresh for transmission in seen] == [False, True]


def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    transmit, seen = failing(lost(reused=False, complete=True))
    with pytest.raises(errors.TransportError, match="it broke"):
        drive(core().verify_hash("k", Algorithm.ECDSA_ANY, b"h", b"s"), transmit)
    assert len(seen) == 1


def test_the_second_try_is_the_last() -> None:
    transmit, seen = failing(lost(reused=True, complete=True), lost(reused=False, complete=True))
    with pytest.raises(errors.TransportError):
        drive(core().verify_hash("k", Algorithm.ECDSA_ANY, b"h", b"s"), transmit)
    assert len(seen) == 2


def test_a_creation_unanswered_in_time_is_of_unknown_outcome() -> None:
    transmit, _ = failing(lost(reused=False, complete=True, timed_out=True))
    with pytest.raises(errors.OutcomeUnknownError):
        drive(changes()[0], transmit)


@pytest.mark.parametrize("reused", [False, True])
def test_time_over_is_not_tried_again(reused: bool) -> None:
    transmit, seen = failing(lost(reused=reused, complete=True, timed_out=True))
    with pytest.raises(errors.ServiceTimeoutError, match="raise timeout_s"):
        drive(core().verify_hash("k", Algorithm.ECDSA_ANY, b"h", b"s"), transmit)
    assert len(seen) == 1


@pytest.mark.parametrize("keep", [False, True])
def test_the_keep_bit_follows_the_option(keep: bool) -> None:
    simulator = WireSimulator()
    seen: list[Transmission] = []

    def transmit(transmission: Transmission) -> bytes:
        seen.append(transmission)
        return simulator.answer(transmission.frame)

    drive(Core(keep_connection=keep).ping(), transmit)
    assert seen[0].keep is keep
    assert bool(simulator.requests[0].flags & FLAG_KEEP) is keep


# Answers


@pytest.mark.parametrize(
    "response",
    [
        encode_response(provider=0, session=0, opcode=Opcode.LIST_KEYS, status=0),
        encode_response(provider=0, session=0, opcode=Opcode.PING, status=4321),
        encode_response(provider=0, session=0, opcode=Opcode.PING, status=0, body=b"\xff"),
    ],
)
def test_an_answer_against_the_protocol_is_an_error_of_its_own(response: bytes) -> None:
    with pytest.raises(errors.UnexpectedResponseError):
        drive(Core().ping(), lambda _transmission: response)


def test_the_status_counts_before_the_opcode() -> None:
    early = encode_response(provider=0, session=0, opcode=Opcode.PING, status=ResponseStatus.BODY_SIZE_EXCEEDS_LIMIT)
    with pytest.raises(errors.BodySizeExceedsLimitError):
        drive(core().hash_compute(Hash.SHA_256, b"x"), lambda _transmission: early)


def test_what_cannot_be_written_down_is_not_sent() -> None:
    with pytest.raises(errors.InvalidRequestError, match="PsaDestroyKey"):
        drive(core().destroy_key("\ud800"), lambda _transmission: pytest.fail("sent"))
    with pytest.raises(errors.InvalidRequestError, match="credentials"):
        drive(Core(auth=DirectAuth("x" * 70_000)).list_keys(), lambda _transmission: pytest.fail("sent"))
    with pytest.raises(errors.ClientError, match="empty"):
        DirectAuth("")


def test_can_do_crypto_answers_by_status() -> None:
    simulator = WireSimulator({Opcode.CAN_DO_CRYPTO: constant()}, authenticators=(DIRECT,))
    assert ask(simulator, core().can_do_crypto(CheckType.GENERATE, templates.ecdsa_p256())) is True
    simulator.answers[Opcode.CAN_DO_CRYPTO] = refusal(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)
    assert ask(simulator, core().can_do_crypto(CheckType.USE, templates.ecdsa_p256())) is False
    simulator.answers[Opcode.CAN_DO_CRYPTO] = refusal(ResponseStatus.OPCODE_DOES_NOT_EXIST)
    with pytest.raises(errors.NotSupportedError):
        ask(simulator, core().can_do_crypto(CheckType.USE, templates.ecdsa_p256()))


def test_a_keys_attributes_are_those_in_its_provider() -> None:
    mine, other = templates.ecdsa_p256(), templates.rsa_pss()
    keys = ops.ListKeysResult((ops.KeyInfo(3, "k", other), ops.KeyInfo(1, "k", mine)))
    simulator = WireSimulator({Opcode.LIST_KEYS: constant(keys)}, authenticators=(DIRECT,))
    assert ask(simulator, core().key_attributes("k")).key_type == mine.key_type
    assert ask(simulator, core().key_attributes("k", provider=3)).key_type == other.key_type
    with pytest.raises(errors.DoesNotExistError, match="'absent'"):
        ask(simulator, core().key_attributes("absent"))


def test_secrets_come_as_secrets() -> None:
    def no_material(_operation: ops.Operation) -> ops.Result:
        raise PsaError(PsaStatus.NOT_PERMITTED)

    simulator = WireSimulator(
        {
            Opcode.PSA_EXPORT_KEY: constant(ops.PsaExportKeyResult(b"material")),
            Opcode.PSA_GENERATE_RANDOM: constant(ops.PsaGenerateRandomResult(b"random")),
        },
        authenticators=(DIRECT,),
    )
    for flow in (core().export_key("k"), core().generate_random(6)):
        secret = ask(simulator, flow)
        assert isinstance(secret, Secret)
        assert "material" not in f"{secret!r}"
    simulator.answers[Opcode.PSA_EXPORT_KEY] = no_material
    with pytest.raises(errors.NotPermittedError):
        ask(simulator, core().export_key("k"))
