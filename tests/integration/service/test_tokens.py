"""A service that takes tokens, as pods meet it: who is who, which slot is whose, and what ends a verdict."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from edgeroot.client import Client, NoAuth, TokenFile, errors, templates
from edgeroot.psa import Secret
from edgeroot.sealing.wrapping_key import _derive
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.framing import decode_response, encode_request
from edgeroot.wire.opcodes import BY_OPERATION
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus as Status
from tests.support.clients import DIGEST, ECDSA, read_to_end, wait_until
from tests.support.service import running_service
from tests.support.token_service import CAMERA, TILL, TokenService, running_token_service
from tests.support.tokens import Issuer
from tests.support.workload_api import WorkloadApiDouble, serving_bundles

SHORT_MS = 300
P256 = templates.ecdsa_p256()


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenService]:
    with running_token_service() as service:
        yield service


@pytest.fixture
def quick() -> Iterator[TokenService]:
    """A service whose verdicts hold for a moment only."""
    with running_token_service(review_interval_ms=SHORT_MS) as service:
        yield service


def sign(client: Client) -> bytes:
    return client.sign_hash("key", ECDSA, DIGEST)


def identity_processes(tokens: TokenService) -> list[int]:
    return tokens.service.children("-identi")  # what the kernel leaves of the name


def identity_of(tokens: TokenService, *, other_than: int = 0) -> int:
    """The identity process, as soon as there is one."""
    found: list[int] = []

    def is_there() -> bool:
        found.extend(pid for pid in identity_processes(tokens) if pid != other_than)
        return bool(found)

    wait_until(is_there, "an identity process")
    return found[0]


def status_of(tokens: TokenService, auth: bytes, *, slot: int = 0) -> Status:
    """What a request for a list of keys is answered that has this auth field."""
    operation = ops.ListKeys()
    spec = BY_OPERATION[type(operation)]
    request = encode_request(
        opcode=spec.opcode,
        provider=0,
        body=encode_operation(operation),
        auth_type=AuthType.JWT_SVID,
        auth=auth,
        flags=0,
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(str(tokens.slot_path(slot)))
        connection.sendall(request)
        return decode_response(read_to_end(connection)).status


# Who is who


def test_a_pod_makes_a_key_by_its_token_and_signs_with_it(tokens: TokenService) -> None:
    with tokens.client(tokens.till_token(), 0) as client:
        client.generate_key("receipts", P256)
        signature = client.sign_hash("receipts", ECDSA, DIGEST)
        client.verify_hash("receipts", ECDSA, DIGEST, signature)
        assert [key.name for key in client.list_keys()] == ["receipts"]
        client.destroy_key("receipts")


def test_the_service_says_how_to_authenticate_at_each_of_its_sockets(tokens: TokenService) -> None:
    with Client(f"unix:{tokens.slot_path(0)}", auth=NoAuth()) as at_slot, tokens.service.client() as at_socket:
        (listed,) = at_slot.list_authenticators()
        assert (listed.id, listed.description) == (
            4,
            "Authenticator validating a JWT SPIFFE Verifiable Identity Document",
        )
        assert (listed.version_maj, listed.version_min, listed.version_rev) == (0, 1, 0)
        assert [one.id for one in at_socket.list_authenticators()] == [AuthType.UNIX_PEER_CREDENTIALS]


def test_keys_belong_to_the_account_whatever_pod_it_is_in(tokens: TokenService) -> None:
    with tokens.client(tokens.till_token(), 0) as client:
        client.generate_key("key", P256)
    tokens.pods.holders[0] = "shop/till-1"
    try:
        with tokens.client(tokens.issuer.service_account("shop/till", pod="till-1"), 0) as successor:
            sign(successor)
            successor.destroy_key("key")
    finally:
        tokens.pods.holders[0] = "shop/till-0"


def test_a_pod_has_no_way_to_anothers_keys(tokens: TokenService) -> None:
    with tokens.client(tokens.till_token(), 0, name="till") as till:
        till.generate_key("key", P256)
        with tokens.client(tokens.camera_token(), 1, name="camera") as camera:
            assert camera.list_keys() == ()
            with pytest.raises(errors.DoesNotExistError):
                sign(camera)
        # A stolen token shows at the wrong slot, a stolen socket has the wrong token.
        for token, slot in ((tokens.till_token(), 1), (tokens.camera_token(), 0)):
            with tokens.client(token, slot) as thief, pytest.raises(errors.AuthenticationError):
                sign(thief)
        sign(till)
        till.destroy_key("key")


def test_a_verdict_about_one_slot_is_none_about_another(tokens: TokenService) -> None:
    token = tokens.till_token()
    for _ in range(8):  # whichever worker it is
        assert status_of(tokens, token, slot=0) is Status.SUCCESS
        assert status_of(tokens, token, slot=1) is Status.AUTHENTICATION_ERROR


def test_only_tokens_are_taken_at_slots(tokens: TokenService) -> None:
    with Client(f"unix:{tokens.slot_path(0)}") as client, pytest.raises(errors.NoAuthenticatorError, match="token"):
        client.list_keys()


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (b"\xff\xfe", Status.INVALID_ENCODING),
        (b"", Status.AUTHENTICATION_ERROR),
        (b"no token", Status.AUTHENTICATION_ERROR),
        (b"a" * 60_000, Status.AUTHENTICATION_ERROR),
    ],
)
def test_what_is_no_token_is_refused(tokens: TokenService, auth: bytes, expected: Status) -> None:
    assert status_of(tokens, auth) is expected


def test_a_forged_token_is_refused(tokens: TokenService) -> None:
    forger = Issuer()
    assert status_of(tokens, forger.service_account("shop/till", pod="till-0")) is Status.AUTHENTICATION_ERROR
    assert status_of(tokens, tokens.till_token()) is Status.SUCCESS


def test_users_of_the_ordinary_socket_are_who_they_were(tokens: TokenService) -> None:
    with tokens.service.client() as client:
        client.generate_key("key", P256)
        sign(client)
        client.destroy_key("key")


def test_admins_are_spiffe_ids() -> None:
    with running_token_service(authenticator=f'admins = [{{ name = "{TILL}" }}]') as tokens:
        with tokens.client(tokens.camera_token(), 1, name="camera") as camera:
            camera.generate_key("key", P256)
            with pytest.raises(errors.AdminOperationError):
                camera.list_clients()
        with tokens.client(tokens.till_token(), 0) as till:
            assert till.list_clients() == (CAMERA,)
            till.delete_client(CAMERA)
            assert till.list_clients() == ()


# What ends a verdict


def test_an_expired_token_is_refused_although_it_was_known() -> None:
    with running_token_service(authenticator="clock_skew = 1") as tokens:
        token = tokens.till_token(life_s=3)
        assert status_of(tokens, token) is Status.SUCCESS
        wait_until(lambda: status_of(tokens, token) is Status.AUTHENTICATION_ERROR, "the token's end")
        assert status_of(tokens, tokens.till_token()) is Status.SUCCESS


def test_tokens_are_taken_all_through_a_reload(tokens: TokenService) -> None:
    end = threading.Event()
    statuses: list[Status] = []

    def ask() -> None:
        while not end.is_set():
            statuses.append(status_of(tokens, tokens.till_token()))

    thread = threading.Thread(target=ask)
    thread.start()
    before = identity_of(tokens)
    tokens.service.signal(signal.SIGHUP)
    wait_until(lambda: before not in (found := identity_processes(tokens)) and bool(found), "another identity process")
    end.set()
    thread.join()
    assert set(statuses) == {Status.SUCCESS}


def test_a_pod_that_has_lost_its_slot_is_refused_within_the_interval(quick: TokenService) -> None:
    token = quick.till_token()
    assert status_of(quick, token) is Status.SUCCESS
    quick.pods.holders[0] = "yard/camera-0"
    lost_s = time.monotonic()
    wait_until(lambda: status_of(quick, token) is Status.AUTHENTICATION_ERROR, "the refusal")
    assert time.monotonic() - lost_s < SHORT_MS / 1000 + 4.0  # the kubelet's list is used for a second
    assert status_of(quick, quick.camera_token()) is Status.SUCCESS


def test_many_requests_with_one_token_at_once_are_all_answered(quick: TokenService) -> None:
    token = quick.till_token()
    statuses: list[Status] = []

    def ask() -> None:
        statuses.extend(status_of(quick, token) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [Status.SUCCESS] * 500


# Nobody waits for another's token


def test_a_kubelet_that_hangs_delays_nobody_who_needs_it_not(quick: TokenService) -> None:
    with quick.service.client() as user:
        user.generate_key("key", P256)
        quick.pods.may_answer.clear()
        answers: list[Status] = []
        waiting = threading.Thread(target=lambda: answers.append(status_of(quick, quick.till_token())))
        waiting.start()
        assert slowest_s(lambda: sign(user), for_s=0.7) < 0.7
        quick.pods.may_answer.set()
        waiting.join()
        user.destroy_key("key")
    assert answers[0] in (Status.SUCCESS, Status.AUTHENTICATION_ERROR)
    wait_until(lambda: status_of(quick, quick.till_token()) is Status.SUCCESS, "the kubelet to be asked again")


def test_an_identity_process_that_is_stopped_delays_nobody_else(quick: TokenService) -> None:
    identity = identity_of(quick)
    answers: list[Status] = []
    with quick.service.client() as user:
        user.generate_key("key", P256)
        os.kill(identity, signal.SIGSTOP)
        try:
            waiting = threading.Thread(target=lambda: answers.append(status_of(quick, quick.till_token())))
            waiting.start()
            assert slowest_s(lambda: sign(user), for_s=0.7) < 1.0
            assert answers == []
        finally:
            os.kill(identity, signal.SIGCONT)
        waiting.join()
        user.destroy_key("key")
    assert answers == [Status.SUCCESS]


def test_an_identity_process_that_is_killed_comes_back_and_its_questions_are_answered(quick: TokenService) -> None:
    identity = identity_of(quick)
    os.kill(identity, signal.SIGSTOP)
    answers: list[Status] = []
    threads = [threading.Thread(target=lambda: answers.append(status_of(quick, quick.till_token()))) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)  # so that some of them have been asked about
    os.kill(identity, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert answers == [Status.SUCCESS] * 5
    identity_of(quick, other_than=identity)
    assert "the identity 0 was killed by SIGKILL; starting it anew" in quick.service.log()


def test_an_identity_process_that_is_killed_again_and_again_under_load_costs_no_request() -> None:
    with running_token_service(review_interval_ms=100) as tokens:
        end = threading.Event()
        faults: list[Exception] = []
        signed = [0, 0]

        def use(slot: int, token: bytes) -> None:
            try:
                with tokens.client(token, slot, name=f"token-{slot}") as client:
                    client.generate_key("key", P256)
                    while not end.is_set():
                        sign(client)
                        signed[slot] += 1
            except errors.ClientError as error:
                faults.append(error)

        threads = [
            threading.Thread(target=use, args=(slot, token))
            for slot, token in enumerate((tokens.till_token(), tokens.camera_token()))
        ]
        for thread in threads:
            thread.start()
        identity = 0
        for _ in range(4):
            identity = identity_of(tokens, other_than=identity)
            wait_until(partial(is_beyond, signed, tuple(signed)), "both to go on")
            os.kill(identity, signal.SIGKILL)
        end.set()
        for thread in threads:
            thread.join()
        assert faults == []


def test_an_identity_process_that_does_not_answer_is_not_waited_for_longer_than_for_others() -> None:
    with running_token_service(core="execution_timeout = 300") as tokens:
        identity = identity_of(tokens)
        os.kill(identity, signal.SIGSTOP)
        try:
            assert status_of(tokens, tokens.till_token()) is Status.CONNECTION_ERROR
        finally:
            os.kill(identity, signal.SIGCONT)
        assert status_of(tokens, tokens.till_token()) is Status.SUCCESS


def test_a_pod_with_heaps_of_garbage_does_not_keep_others_waiting(quick: TokenService) -> None:
    end = threading.Event()

    def flood(number: int) -> None:
        count = 0
        while not end.is_set():
            count += 1
            with_key = Issuer().service_account("shop/till", pod=f"till-{number}-{count}")
            try:
                status_of(quick, with_key)
            except (OSError, errors.ClientError):
                continue

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert slowest_s(lambda: status_of(quick, quick.camera_token(), slot=1), for_s=1.0) < 2.0
        assert status_of(quick, quick.camera_token(), slot=1) is Status.SUCCESS
    finally:
        end.set()
        for thread in threads:
            thread.join()


# Who judges tokens, and may be deceived by one


def test_an_identity_process_has_no_key_in_its_memory_and_no_store_in_its_hands(tokens: TokenService) -> None:
    """The others come from a process that has opened stores and back ends; this one is a program of its own."""
    assert status_of(tokens, tokens.till_token()) is Status.SUCCESS
    (key_file,) = (tokens.service.folder / "store").glob("*.key")
    wrapping_key = _derive(Secret(key_file.read_bytes()[-32:]), b"edgeroot sealing v1: encryption", 32)
    (worker, *_), identity = tokens.service.children("worker"), identity_of(tokens)
    assert wrapping_key in memory_of(worker), "the search does not work at all"
    assert wrapping_key not in memory_of(identity)
    for pid, expected in ((worker, True), (identity, False)):
        held = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
        assert any("/store/" in path for path in held) is expected


def memory_of(pid: int) -> bytes:
    """All that a process may write to, for root to read."""
    found = b""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            begin, end = (int(number, 16) for number in span.split("-"))
            if rights.startswith("rw"):
                with suppress(OSError):
                    memory.seek(begin)
                    found += memory.read(end - begin)
    return found


# SPIFFE


def test_upstreams_configuration_for_spiffe_takes_jwt_svids() -> None:
    """One listener for users of this machine and for workloads with an SVID, as upstream's has one."""
    trusted, forger = Issuer(), Issuer()
    agent = WorkloadApiDouble(example_org=trusted)
    with running_service(start=False) as service, serving_bundles(agent, service.folder / "agent.sock"):
        text = service.config_path.read_text().replace("[authenticator]", "[[authenticator]]")
        endpoint = f"unix://{service.folder}/agent.sock"
        text += f'[[authenticator]]\nauth_type = "JwtSvid"\nworkload_endpoint = "{endpoint}"\n'
        service.config_path.write_text(text)
        service.start()

        def client(token: bytes) -> Client:
            path = service.folder / "svid"
            path.write_bytes(token)
            return Client(service.endpoint, auth=TokenFile(path))

        with client(trusted.svid("spiffe://example.org/till")) as till:
            assert [one.id for one in till.list_authenticators()] == [3, 4]
            till.generate_key("key", P256)
            sign(till)
        with client(trusted.svid("spiffe://example.org/camera")) as camera:
            assert camera.list_keys() == ()
        with client(forger.svid("spiffe://example.org/till")) as stranger, pytest.raises(errors.AuthenticationError):
            sign(stranger)
        with service.client() as user:
            assert user.list_keys() == ()


def is_beyond(counts: Sequence[int], before: Sequence[int]) -> bool:
    return all(now > then for now, then in zip(counts, before, strict=True))


def slowest_s(work: Callable[[], object], *, for_s: float) -> float:
    """The longest that the work took, done again and again for this time."""
    longest_s = 0.0
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        begun_s = time.monotonic()
        work()
        longest_s = max(longest_s, time.monotonic() - begun_s)
    return longest_s
