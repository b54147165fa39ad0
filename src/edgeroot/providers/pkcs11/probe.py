"""Finding out what a token can do, where its list of mechanisms does not say: by trying, without leaving a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Final

from edgeroot import engine
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import CKR_FUNCTION_NOT_SUPPORTED, CkrError
from edgeroot.providers.pkcs11.material import CURVES, imported_parts
from edgeroot.providers.pkcs11.mechanisms import HASHES, Mechanism, oaep, pss
from edgeroot.providers.pkcs11.native import Module, Session
from edgeroot.providers.pkcs11.profile import MechanismInfo, Profile, TokenInfo
from edgeroot.providers.pkcs11.templates import Template, allowed_mechanisms
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyType, UsageFlags

ALLOWED_MECHANISMS: Final = "CKA_ALLOWED_MECHANISMS"
_RSA_BITS: Final = 2048
_NIST: Final = frozenset({(EccFamily.SECP_R1, 256), (EccFamily.SECP_R1, 384), (EccFamily.SECP_R1, 521)})


def probe(module: Module, slot: int, info: TokenInfo) -> Profile:
    """The profile of the token in this slot, in which this process is logged in."""
    mechanisms = module.mechanisms(slot)
    paddings = _Paddings(module, slot, mechanisms)
    hashes = tuple(HASHES)
    return Profile(
        serial_number=info.serial_number,
        model=info.model,
        firmware=info.firmware,
        has_random=bool(info.flags & ck.CKF_RNG),
        mechanisms=mechanisms,
        oaep=frozenset(alg for alg in hashes if paddings.encrypts(oaep(alg))),
        oaep_labels=paddings.encrypts(oaep(hashes[0], b"label")),
        pss=frozenset(alg for alg in hashes if paddings.verifies(pss(alg))),
        curves=_curves(module, slot, mechanisms.get(ck.CKM_EC_KEY_PAIR_GEN)),
        lacks=_lacks(module, slot),
    )


class _Paddings:
    """Whether RSA works with given parameters: tokens check them when an operation begins.

    Where that cannot be tried with a public key that is gone with its session, the list of mechanisms is believed.
    """

    def __init__(self, module: Module, slot: int, mechanisms: Mapping[int, MechanismInfo]) -> None:
        self._module = module
        self._slot = slot
        self._mechanisms = mechanisms

    def encrypts(self, mechanism: Mechanism) -> bool:
        return self._begins(mechanism, ck.CKF_ENCRYPT, lambda session, key: session.begin_encryption(mechanism, key))

    def verifies(self, mechanism: Mechanism) -> bool:
        return self._begins(mechanism, ck.CKF_VERIFY, lambda session, key: session.begin_verification(mechanism, key))

    @cached_property
    def _public(self) -> Template:
        attributes = KeyAttributes(KeyType.RSA_KEY_PAIR, _RSA_BITS, UsageFlags.NONE, Algorithm.NONE)
        shared: Template = {
            ck.CKA_CLASS: ck.CKO_PUBLIC_KEY,
            ck.CKA_KEY_TYPE: ck.CKK_RSA,
            ck.CKA_TOKEN: False,
            ck.CKA_PRIVATE: False,
            ck.CKA_ENCRYPT: True,
            ck.CKA_VERIFY: True,
        }
        return shared | imported_parts(attributes, engine.generate(attributes))[1]

    def _begins(self, mechanism: Mechanism, flag: int, begin: Callable[[Session, int], None]) -> bool:
        listed = self._mechanisms.get(mechanism.number)
        if listed is None or not listed.flags & flag:
            return listed is not None
        with _session(self._module, self._slot) as session:
            try:
                key = session.create(self._public)
            except CkrError:
                return True
            try:
                begin(session, key)
            except CkrError:
                return False
        return True


def _lacks(module: Module, slot: int) -> frozenset[str]:
    """What modules may leave out (v3.0 §5.1.7) and still list mechanisms for."""
    secret: Template = {ck.CKA_CLASS: ck.CKO_SECRET_KEY, ck.CKA_TOKEN: False}
    aes = secret | {ck.CKA_KEY_TYPE: ck.CKK_AES, ck.CKA_VALUE_LEN: 16}
    generic = secret | {ck.CKA_KEY_TYPE: ck.CKK_GENERIC_SECRET, ck.CKA_VALUE: bytes(16)}
    held = generic | {ck.CKA_ALLOWED_MECHANISMS: allowed_mechanisms(ck.CKM_SHA256_HMAC)}
    missing = set()
    with _session(module, slot) as session:
        if _answer(lambda: session.generate_key(Mechanism(ck.CKM_AES_KEY_GEN), aes)) == CKR_FUNCTION_NOT_SUPPORTED:
            missing.add("C_GenerateKey")
        if _answer(lambda: session.create(generic)) == CKR_FUNCTION_NOT_SUPPORTED:
            missing.add("C_CreateObject")
        if _answer(lambda: session.create(held)):
            missing.add(ALLOWED_MECHANISMS)
    return frozenset(missing)


def _answer(call: Callable[[], object]) -> int:
    """CKR_OK, or what the module answers instead."""
    try:
        call()
    except CkrError as error:
        return error.code
    return 0


def _curves(module: Module, slot: int, info: MechanismInfo | None) -> frozenset[tuple[EccFamily, int]]:
    """Those for which a pair can be made that is gone with its session. A token without such pairs: those in range."""
    if info is None:
        return frozenset()
    in_range = [curve for curve in CURVES if info.min_size <= curve[1] <= info.max_size]
    made = frozenset(curve for curve in in_range if _makes_pair(module, slot, CURVES[curve]))
    return made or _NIST.intersection(in_range)


def _makes_pair(module: Module, slot: int, parameters: bytes) -> bool:
    shared: Template = {ck.CKA_TOKEN: False, ck.CKA_KEY_TYPE: ck.CKK_EC}
    public = shared | {ck.CKA_CLASS: ck.CKO_PUBLIC_KEY, ck.CKA_EC_PARAMS: parameters, ck.CKA_VERIFY: True}
    private = shared | {ck.CKA_CLASS: ck.CKO_PRIVATE_KEY, ck.CKA_SIGN: True}
    with _session(module, slot) as session:
        try:
            session.generate_key_pair(Mechanism(ck.CKM_EC_KEY_PAIR_GEN), public, private)
        except CkrError:
            return False
    return True


@contextmanager
def _session(module: Module, slot: int) -> Iterator[Session]:
    session = module.open_session(slot)
    try:
        yield session
    finally:
        session.close()
