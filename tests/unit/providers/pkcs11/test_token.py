from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeroot.providers.pkcs11 import Pkcs11Settings
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11 import token as token_module
from edgeroot.providers.pkcs11.errors import (
    CKR_DEVICE_ERROR,
    CKR_GENERAL_ERROR,
    CKR_KEY_HANDLE_INVALID,
    CKR_SESSION_HANDLE_INVALID,
    CKR_TOKEN_NOT_PRESENT,
    CKR_USER_NOT_LOGGED_IN,
    CkrError,
    UnavailableError,
)
from edgeroot.providers.pkcs11.native import Session, SharedPage
from edgeroot.providers.pkcs11.profile import State
from edgeroot.providers.pkcs11.token import Token, TokenLostError
from edgeroot.psa import PsaStatus, Secret
from tests.support.scripted_token import ScriptedModule, token_info

RIGHT, WRONG = b"str:1234", b"str:4321"


def settings(
    *,
    pin: bytes | None = RIGHT,
    slot_number: int | None = None,
    serial_number: str | None = None,
    token_label: str | None = None,
) -> Pkcs11Settings:
    return Pkcs11Settings(
        library_path=Path("/module.so"),
        slot_number=slot_number,
        serial_number=serial_number,
        token_label=token_label,
        user_pin=None if pin is None else Secret(pin),
    )


def make_token(
    module: ScriptedModule, chosen: Pkcs11Settings | None = None, *, page: SharedPage | None = None, state: bytes = b""
) -> Token:
    return Token(chosen or settings(), page or SharedPage(), State.from_bytes(state), load=module.load)


def refused_state(module: ScriptedModule) -> bytes:
    """What a start leaves at which the wrong PIN was refused."""
    token = make_token(module, settings(pin=WRONG))
    with pytest.raises(CkrError):
        token.connect()
    assert module.calls.count("login") == 1
    return bytes(token.state)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(token_module, "now_s", lambda: now[0])
    return now


def raising(*codes: int) -> tuple[list[Session], Callable[[Session], str]]:
    """A function for :meth:`Token.run` that fails so often, and the sessions that it was called with."""
    seen: list[Session] = []
    left = list(codes)

    def function(session: Session) -> str:
        seen.append(session)
        if left:
            raise CkrError(left.pop(0), "C_Sign")
        return "done"

    return seen, function


def test_a_wrong_pin_is_tried_once_by_all_processes_together(clock: list[float]) -> None:
    module, page = ScriptedModule(), SharedPage()
    token = make_token(module, settings(pin=WRONG), page=page)
    with pytest.raises(CkrError, match="CKR_PIN_INCORRECT: it was tried once"):
        token.connect()
    for _ in range(3):
        clock[0] += 10
        with pytest.raises(UnavailableError, match="refused the PIN with CKR_PIN_INCORRECT"):
            token.connect()
    with pytest.raises(UnavailableError, match="correct user_pin"):
        make_token(module, settings(pin=WRONG), page=page).connect()

    assert module.calls.count("login") == 1


def test_a_wrong_pin_is_not_tried_again_by_the_next_start() -> None:
    module = ScriptedModule()
    state = refused_state(module)

    for _ in range(3):
        token = make_token(module, settings(pin=WRONG), state=state)
        with pytest.raises(UnavailableError, match="CKR_PIN_INCORRECT"):
            token.connect()
        state = bytes(token.state)
    assert module.calls.count("login") == 1


def test_another_pin_is_tried_by_the_next_start_and_clears_what_was_noted() -> None:
    module = ScriptedModule()
    token = make_token(module, state=refused_state(module))
    token.connect()

    assert module.calls.count("login") == 2
    assert token.state.refusal is None


def test_a_pin_is_tried_again_when_the_token_says_that_its_count_was_set_back() -> None:
    module = ScriptedModule()
    state = refused_state(module)
    module.pin = b"4321"
    module.set_flags(lambda flags: flags & ~ck.CKF_USER_PIN_COUNT_LOW)

    make_token(module, settings(pin=WRONG), state=state).connect()


def test_a_token_that_does_not_count_is_not_thought_to_have_been_set_back() -> None:
    module = ScriptedModule()
    module.counts_tries = False

    with pytest.raises(UnavailableError, match="CKR_PIN_INCORRECT"):
        make_token(module, settings(pin=WRONG), state=refused_state(module)).connect()
    assert module.calls.count("login") == 1


@pytest.mark.parametrize(
    ("flag", "message"), [(ck.CKF_USER_PIN_FINAL_TRY, "one try left"), (ck.CKF_USER_PIN_LOCKED, "CKR_PIN_LOCKED")]
)
def test_the_last_try_is_never_taken(flag: int, message: str) -> None:
    module = ScriptedModule()
    module.set_flags(lambda flags: flags | flag)

    with pytest.raises(UnavailableError, match=message):
        make_token(module).connect()
    assert "login" not in module.calls


def test_without_a_pin_nobody_logs_in() -> None:
    module = ScriptedModule()
    token = make_token(module, settings(pin=None))
    token.connect()

    assert "login" not in module.calls
    assert not token.protection.private


def test_the_pin_is_in_no_error_and_no_state() -> None:
    module = ScriptedModule()
    token = make_token(module, settings(pin=WRONG))
    with pytest.raises(CkrError) as raised:
        token.connect()

    assert "4321" not in str(raised.value)
    assert b"4321" not in bytes(token.state)
    assert "4321" not in repr(settings(pin=WRONG))


def test_sessions_are_used_again() -> None:
    module = ScriptedModule()
    token = make_token(module)
    for _ in range(20):
        token.run(lambda session: session.find({}))

    found = module.calls.index("find")
    assert module.calls[found:] == ["find"] * 20
    assert module.calls.count("login") == 1


@pytest.mark.parametrize("code", [CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, CKR_TOKEN_NOT_PRESENT])
def test_what_was_lost_is_made_anew_and_the_call_repeated(code: int) -> None:
    module = ScriptedModule()
    token = make_token(module)
    seen, function = raising(code)
    assert token.run(function) == "done"

    assert len(seen) == 2
    assert module.calls.count("restart") == 1
    assert module.calls.count("login") == 2


def test_a_call_is_repeated_once() -> None:
    token = make_token(ScriptedModule())
    seen, function = raising(CKR_SESSION_HANDLE_INVALID, CKR_SESSION_HANDLE_INVALID)
    with pytest.raises(CkrError):
        token.run(function)
    assert len(seen) == 2


def test_a_lost_handle_is_looked_up_anew_in_the_same_connection() -> None:
    module = ScriptedModule()
    token = make_token(module)
    token.connect()
    epoch = token.epoch
    _, function = raising(CKR_KEY_HANDLE_INVALID)
    assert token.run(function) == "done"

    assert token.epoch == epoch + 1
    assert "restart" not in module.calls


def test_a_general_error_of_a_token_that_is_well_is_about_the_data() -> None:
    module = ScriptedModule()
    _, function = raising(CKR_GENERAL_ERROR)
    token = make_token(module)
    with pytest.raises(CkrError) as raised:
        token.run(function)

    assert raised.value.is_of_data
    token.connect()
    assert "restart" not in module.calls


@pytest.mark.parametrize("code", [CKR_GENERAL_ERROR, CKR_DEVICE_ERROR])
@pytest.mark.parametrize("symptom", ["token_info", "open_session", "random"])
def test_after_an_error_of_a_token_that_is_not_well_the_connection_is_made_anew(code: int, symptom: str) -> None:
    module = ScriptedModule()
    token = make_token(module)
    token.run(lambda session: session.find({}))
    module.answers[symptom] = [CKR_TOKEN_NOT_PRESENT]
    seen, function = raising(code)
    with pytest.raises(CkrError) as raised:
        token.run(function)

    assert not raised.value.is_of_data
    assert len(seen) == 1  # nobody knows whether it was carried out, so it is not repeated
    assert token.run(function) == "done"
    assert module.calls.count("restart") == 1


def test_an_operation_that_failed_leaves_its_session_to_nobody() -> None:
    token = make_token(ScriptedModule())
    seen, function = raising(CKR_GENERAL_ERROR)
    with pytest.raises(CkrError):
        token.run(function)
    token.run(function)

    assert seen[0] is not seen[1]


def test_a_missing_token_is_looked_for_once_a_second(clock: list[float]) -> None:
    module = ScriptedModule({})
    token = make_token(module)
    for _ in range(5):
        with pytest.raises(UnavailableError, match="there is no initialised token at all; there is: none"):
            token.connect()
    assert module.calls.count("slots") == 1
    clock[0] += 1.5
    module.tokens = {3: token_info()}
    token.connect()
    assert module.calls.count("load") == 1


def test_an_error_that_is_told_again_does_not_grow(clock: list[float]) -> None:
    token = make_token(ScriptedModule({}))
    depths = []
    for _ in range(4):
        with pytest.raises(UnavailableError) as raised:
            token.connect()
        depths.append(len(raised.traceback))
    assert depths[1:] == [depths[1]] * 3
    assert clock == [1000.0]


def test_what_is_missing_is_confirmed_by_the_token_that_was_connected_to() -> None:
    module = ScriptedModule()
    token = make_token(module)
    token.connect()
    token.confirm()
    module.tokens = {7: token_info("0002")}
    with pytest.raises(TokenLostError, match="put it back"):
        token.confirm()
    module.tokens = {}
    with pytest.raises(TokenLostError):
        token.confirm()


def test_another_token_is_taken_only_if_its_serial_number_says_so() -> None:
    module = ScriptedModule()
    token = make_token(module)
    token.connect()
    state = bytes(token.state)
    module.tokens = {7: token_info("0002")}

    with pytest.raises(UnavailableError, match='set serial_number = "0002" to go on with this one'):
        make_token(module, state=state).connect()
    replaced = make_token(module, settings(serial_number="0002"), state=state)
    replaced.connect()
    make_token(module, state=bytes(replaced.state)).connect()


@pytest.mark.parametrize(
    ("chosen", "slot"),
    [
        (settings(slot_number=8), 8),
        (settings(serial_number="0002"), 8),
        (settings(serial_number=" 0002 "), 8),
        (settings(serial_number="0002", slot_number=7), 8),
        (settings(token_label="other"), 8),
        (settings(slot_number=7), 7),
    ],
)
def test_a_token_is_selected(chosen: Pkcs11Settings, slot: int) -> None:
    uninitialised = token_info("0003", label="empty", flags=ck.CKF_RNG)
    module = ScriptedModule({9: uninitialised, 7: token_info(), 8: token_info("0002", label="other")})
    token = make_token(module, chosen)

    assert token.run(lambda session: session.slot if hasattr(session, "slot") else None) == slot


def test_several_tokens_that_could_be_meant_are_none() -> None:
    module = ScriptedModule({7: token_info(), 8: token_info("0002", label="other")})
    with pytest.raises(UnavailableError, match=r"token \(0001, slot 7\), other \(0002, slot 8\); select one"):
        make_token(module).connect()


def test_a_slot_that_does_not_answer_keeps_nobody_from_another() -> None:
    module = ScriptedModule({6: token_info("0009"), 7: token_info()})
    module.answers["token_info"] = [CKR_GENERAL_ERROR]
    make_token(module).connect()


def test_what_the_token_can_do_is_published_once(clock: list[float]) -> None:
    module, page = ScriptedModule(), SharedPage()
    token = make_token(module, page=page)
    assert page.generation == 0
    token.connect()
    generation, data = page.read()
    assert State.from_bytes(data).profile == token.state.profile
    token.disconnect()
    token.connect()
    assert page.generation == generation
    module.tokens = {7: token_info()._replace(firmware="2.0")}
    token.disconnect()
    token.connect()
    assert page.generation != generation


def test_unavailable_is_a_failure_of_communication() -> None:
    assert UnavailableError("gone").status is PsaStatus.COMMUNICATION_FAILURE
