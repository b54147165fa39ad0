"""A PKCS#11 module that is no library: tests say which tokens there are, what they answer, and see what was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import CKR_PIN_INCORRECT, CKR_SLOT_ID_INVALID, CkrError
from edgeroot.providers.pkcs11.mechanisms import Mechanism
from edgeroot.providers.pkcs11.native import Module, Session, Template
from edgeroot.providers.pkcs11.profile import MechanismInfo, TokenInfo
from edgeroot.psa import Secret

FLAGS = ck.CKF_RNG | ck.CKF_LOGIN_REQUIRED | ck.CKF_TOKEN_INITIALIZED


def token_info(serial_number: str = "0001", *, label: str = "token", flags: int = FLAGS) -> TokenInfo:
    return TokenInfo(label, serial_number, "nobody", "script", "1.0", flags)


class ScriptedModule(Module):
    """``tokens`` by slot. Every name in ``calls`` is one call; ``answers`` are raised, once each, instead of others."""

    def __init__(self, tokens: dict[int, TokenInfo] | None = None, *, pin: bytes = b"1234") -> None:
        self.tokens = {7: token_info()} if tokens is None else tokens
        self.pin = pin
        self.counts_tries = True
        self.calls: list[str] = []
        self.answers: dict[str, list[int]] = {}

    def load(self, _path: Path) -> ScriptedModule:
        """What a :class:`edgeroot.providers.pkcs11.token.Token` loads as its module."""
        self.note("load")
        return self

    def note(self, call: str) -> None:
        self.calls.append(call)
        if self.answers.get(call):
            raise CkrError(self.answers[call].pop(0), call)

    def restart(self) -> None:
        self.note("restart")

    def finalize(self) -> None:
        self.note("finalize")

    def slots(self) -> list[int]:
        self.note("slots")
        return list(self.tokens)

    def token_info(self, slot: int) -> TokenInfo:
        self.note("token_info")
        if slot not in self.tokens:
            raise CkrError(CKR_SLOT_ID_INVALID, "C_GetTokenInfo")
        return self.tokens[slot]

    def mechanisms(self, slot: int) -> dict[int, MechanismInfo]:
        return {}

    def open_session(self, slot: int) -> ScriptedSession:
        self.note("open_session")
        return ScriptedSession(self, slot)

    def set_flags(self, change: Callable[[int], int]) -> None:
        """Change the flags of every token."""
        self.tokens = {slot: info._replace(flags=change(info.flags)) for slot, info in self.tokens.items()}


class ScriptedSession(Session):
    """What opening, logging in and being well need."""

    def __init__(self, module: ScriptedModule, slot: int) -> None:
        self.module = module
        self.slot = slot

    def login(self, pin: Secret) -> None:
        self.module.note("login")
        if pin != self.module.pin:
            if self.module.counts_tries:
                self.module.set_flags(lambda flags: flags | ck.CKF_USER_PIN_COUNT_LOW)
            raise CkrError(CKR_PIN_INCORRECT, "C_Login")
        self.module.set_flags(lambda flags: flags & ~ck.CKF_USER_PIN_COUNT_LOW)

    def close(self) -> None:
        self.module.note("close")

    def find(self, template: Template) -> list[int]:
        self.module.note("find")
        return []

    def random(self, size_bytes: int) -> Secret:
        self.module.note("random")
        return Secret(size_bytes)

    def create(self, template: Template) -> int:
        self.module.note("create")
        return 1

    def generate_key(self, mechanism: Mechanism, template: Template) -> int:
        self.module.note("generate_key")
        return 1
