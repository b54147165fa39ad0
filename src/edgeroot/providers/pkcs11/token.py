"""The connection to a token: which slot, the one log-in, sessions, and how it is all made anew when it was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edgeroot import engine
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import (
    BROKEN,
    CKR_PIN_INCORRECT,
    CKR_PIN_LOCKED,
    HANDLES,
    PIN_REFUSED,
    STALE,
    CkrError,
    UnavailableError,
    advice_for,
    name_of,
)
from edgeroot.providers.pkcs11.native import (
    Module,
    Session,
    SharedPage,
    credential_path,
    now_s,
    read_pin_file,
)
from edgeroot.providers.pkcs11.probe import ALLOWED_MECHANISMS, probe
from edgeroot.providers.pkcs11.profile import Profile, Refusal, State, TokenInfo
from edgeroot.providers.pkcs11.settings import Pkcs11Settings, pin_source
from edgeroot.providers.pkcs11.templates import Protection
from edgeroot.psa import Secret

_T = TypeVar("_T")
_log: Final = logging.getLogger(__name__)
_POOLED_SESSIONS: Final = 4
# How long callers are told what the last try said, before the token is looked for again.
_RETRY_S: Final = 1.0
_SALT_BYTES: Final = 16


class TokenLostError(UnavailableError):
    """The token that was there a moment ago is not."""


class Token:
    """A token in this process. It is connected to when it is first needed."""

    def __init__(
        self,
        settings: Pkcs11Settings,
        page: SharedPage,
        state: State,
        *,
        load: Callable[[Path], Module] = Module,
    ) -> None:
        """``page`` is shared by all processes of the service; ``state`` is what the last start left."""
        self._load = load
        self._settings = settings
        self._page = page
        self.state = state
        self.epoch = 0
        """Handles of objects are good as long as this does not change."""
        self._module: Module | None = None
        self._slot: int | None = None
        self._serial_number = ""
        self._login: Session | None = None  # a log-in lasts as long as any session of the process (v3.0 §5.6.8)
        self._idle: list[Session] = []
        self._failure: UnavailableError | CkrError | None = None
        self._failed_s = 0.0

    @property
    def protection(self) -> Protection:
        """How objects are guarded: without a PIN none can be private."""
        profile = self.state.profile
        names_mechanisms = profile is not None and ALLOWED_MECHANISMS not in profile.lacks
        return Protection(private=self._settings.user_pin is not None, names_mechanisms=names_mechanisms)

    @property
    def makes_by_copy(self) -> bool:
        """Whether new objects are made beside the token and copied into it."""
        return self.state.profile is not None and self.state.profile.makes_by_copy

    def run(self, function: Callable[[Session], _T]) -> _T:
        """What ``function`` returns. It may be called twice: where a session, log-in or handle turned out to be over.

        UnavailableError if there is no token; CkrError.
        """
        try:
            return self._run_once(function)
        except TokenLostError:
            return self._run_once(function)
        except CkrError as error:
            if error.code not in STALE:
                raise
            return self._run_once(function)

    def confirm(self) -> None:
        """Make sure that it is the token that has no such object: some modules also say so when it was taken away.

        TokenLostError.
        """
        if not self._is_well():
            self.disconnect()
            raise TokenLostError("the token is gone: put it back, and the provider goes on by itself")

    def _run_once(self, function: Callable[[Session], _T]) -> _T:
        slot = self._connected()
        assert self._module is not None
        try:
            session = self._idle.pop() if self._idle else self._module.open_session(slot)
        except CkrError:
            self.disconnect()
            raise
        try:
            result = function(session)
        except CkrError as error:
            self._after(error, session)
            raise
        except BaseException:
            session.close()
            raise
        if len(self._idle) < _POOLED_SESSIONS:
            self._idle.append(session)
        else:
            session.close()
        return result

    def connect(self) -> None:
        """Make sure that the token is there. UnavailableError, CkrError."""
        self._connected()

    def disconnect(self) -> None:
        """Forget sessions, log-in and handles; what comes next starts from the list of slots."""
        for session in (*self._idle, *((self._login,) if self._login else ())):
            session.close()
        self._idle.clear()
        self._login = None
        self._slot = None
        self.epoch += 1

    def close(self) -> None:
        """Be done with the module."""
        self.disconnect()
        if self._module is not None:
            self._module.finalize()
            self._module = None

    def _after(self, error: CkrError, session: Session) -> None:
        session.close()  # whatever was begun in it is over
        if error.code in HANDLES:
            self.epoch += 1
        elif error.code in BROKEN and self._is_well():
            error.is_of_data = True
        elif error.code in STALE | BROKEN:
            self.disconnect()

    def _is_well(self) -> bool:
        """Whether the token that was connected to is there and answers.

        Some modules know by themselves what a token is, and others make up random numbers by themselves: so both.
        """
        if self._module is None or self._slot is None:
            return False
        try:
            info = self._module.token_info(self._slot)
            session = self._module.open_session(self._slot)
            try:
                if info.flags & ck.CKF_RNG:
                    session.random(1)
            finally:
                session.close()
        except CkrError:
            return False
        return info.serial_number == self._serial_number

    def _connected(self) -> int:
        if self._slot is not None:
            return self._slot
        if self._failure is not None and now_s() - self._failed_s < _RETRY_S:
            raise self._failure.with_traceback(None)  # which would grow each time
        try:
            self._slot = self._connect()
        except (UnavailableError, CkrError) as error:
            self.disconnect()
            self._failure, self._failed_s = error, now_s()
            raise
        self._failure = None
        return self._slot

    def _connect(self) -> int:
        self._refuse_latched()
        if self._module is None:
            self._module = self._load(self._settings.library_path)
        else:
            self._module.restart()
        slot, info = self._select(self._module)
        known = self.state.profile
        if known is not None and known.serial_number != info.serial_number and self._settings.serial_number is None:
            raise UnavailableError(
                f"the token is {info.serial_number} ({info.label}), and the stored keys are in {known.serial_number}: "
                f'put that one back, or set serial_number = "{info.serial_number}" to go on with this one'
            )
        self._login = self._module.open_session(slot)
        self._log_in(self._login, info)
        if known is None or not known.describes(info):
            self._note(probe(self._module, slot, info))
        elif not self._page.generation:
            self._note(known)
        self._serial_number = info.serial_number
        return slot

    def _note(self, profile: Profile) -> None:
        self.state = State(profile)
        self._page.write(bytes(self.state))

    def _select(self, module: Module) -> tuple[int, TokenInfo]:
        settings = self._settings
        initialized = _initialized_tokens(module)
        if settings.serial_number is not None:
            wanted = f"with the serial number {settings.serial_number}"
            chosen = [one for one in initialized if one[1].serial_number == settings.serial_number.strip()]
        elif settings.token_label is not None:
            wanted = f"with the label {settings.token_label}"
            chosen = [one for one in initialized if one[1].label == settings.token_label]
        elif settings.slot_number is not None:
            wanted = f"in slot {settings.slot_number}"
            chosen = [one for one in initialized if one[0] == settings.slot_number]
        else:
            wanted = "at all"
            chosen = initialized
        there = ", ".join(
            f"{info.label or '(no label)'} ({info.serial_number}, slot {slot})" for slot, info in initialized
        )
        if not chosen:
            raise UnavailableError(f"there is no initialised token {wanted}; there is: {there or 'none'}")
        if len(chosen) > 1:
            raise UnavailableError(f"several tokens could be meant: {there}; select one with serial_number")
        slot, info = chosen[0]
        if settings.serial_number is not None and settings.slot_number not in (None, slot):
            _log.warning("the token with that serial_number is in slot %d, not in slot_number", slot)
        return slot, info

    def _log_in(self, session: Session, info: TokenInfo) -> None:
        source = pin_source(self._settings.user_pin)
        if source is None:
            return
        if source.value is not None:
            pin = source.value
        else:
            pin = read_pin_file(source.file or credential_path(source.credential or ""))
        if info.flags & ck.CKF_USER_PIN_LOCKED:
            raise UnavailableError(f"{name_of(CKR_PIN_LOCKED)}: {advice_for(CKR_PIN_LOCKED)}")
        if info.flags & ck.CKF_USER_PIN_FINAL_TRY:
            raise UnavailableError(
                "the token has one try left for its PIN, which the service does not take: log in with the token's own "
                "tool, which sets the count back"
            )
        self._refuse_known(pin, info)
        try:
            session.login(pin)
        except CkrError as error:
            if error.code in PIN_REFUSED:
                self._page.refused = error.code & 0xFF
                self._remember(pin, info)
            raise
        self.state = replace(self.state, refusal=None)

    def _refuse_latched(self) -> None:
        """Every process of the service knows that one of them was refused."""
        if self._page.refused:
            code = next(code for code in PIN_REFUSED if code & 0xFF == self._page.refused)
            raise UnavailableError(f"the token refused the PIN with {name_of(code)}: {advice_for(code)}")

    def _refuse_known(self, pin: Secret, info: TokenInfo) -> None:
        """A PIN that an earlier start found wrong is not tried again, unless the token's count says that it was reset.

        So a service that is restarted again and again does not lock the token.
        """
        refusal = self.state.refusal
        if refusal is None or not bytes_eq(refusal.digest, _digest(refusal.salt, pin, info)):
            return
        if refusal.is_counted and not info.flags & ck.CKF_USER_PIN_COUNT_LOW:
            return
        self._page.refused = CKR_PIN_INCORRECT & 0xFF
        self._refuse_latched()

    def _remember(self, pin: Secret, info: TokenInfo) -> None:
        assert self._module is not None
        salt = bytes(engine.random(_SALT_BYTES))
        _, after = self._select(self._module)
        is_counted = bool(after.flags & ck.CKF_USER_PIN_COUNT_LOW)
        self.state = replace(self.state, refusal=Refusal(salt, _digest(salt, pin, info), is_counted))


def _initialized_tokens(module: Module) -> list[tuple[int, TokenInfo]]:
    """A token that does not say what it is cannot be meant, and keeps nobody from another one."""
    found = []
    for slot in module.slots():
        try:
            info = module.token_info(slot)
        except CkrError as error:
            _log.warning("PKCS#11 slot %d: %s", slot, error.detail)
            continue
        if info.flags & ck.CKF_TOKEN_INITIALIZED:
            found.append((slot, info))
    return found


def _digest(salt: bytes, pin: Secret, info: TokenInfo) -> bytes:
    """By which a refused PIN is known again; slow on purpose, for it may be all but the right one."""
    return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(info.serial_number.encode() + b"\0" + pin)
