"""The PKCS#11 provider under the identity of upstream's: keys live in a token, and private ones never leave it.

The module is loaded in the provider's host process only. Before that, when the service starts, each call to it is made
in a process of its own (:func:`edgeroot.providers.pkcs11.native.isolated`), so that neither the supervisor nor any
worker forked from it ever has the module inside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from edgeroot import engine
from edgeroot.engine import EngineKey
from edgeroot.providers.api import (
    Capabilities,
    Created,
    Function,
    LoadedKey,
    Provider,
    ProviderIdentity,
    ProviderType,
)
from edgeroot.providers.pkcs11 import keys, operations
from edgeroot.providers.pkcs11.capabilities import UNKNOWN, USES, is_known_to_engine, rows
from edgeroot.providers.pkcs11.errors import CkrError
from edgeroot.providers.pkcs11.keys import TokenKey
from edgeroot.providers.pkcs11.material import checked
from edgeroot.providers.pkcs11.mechanisms import Mechanism
from edgeroot.providers.pkcs11.native import Session, SharedPage, isolated, process_id
from edgeroot.providers.pkcs11.profile import State
from edgeroot.providers.pkcs11.reference import PLANNED_ID_BYTES, KeyReference
from edgeroot.providers.pkcs11.settings import Pkcs11Settings
from edgeroot.providers.pkcs11.token import Token
from edgeroot.psa import Algorithm, Hash, KeyAttributes, PsaError, PsaStatus, Secret, UsageFlags
from edgeroot.psa.policy import compatible

_T = TypeVar("_T")
_UPSTREAM_ID_BYTES: Final = 4
_log: Final = logging.getLogger(__name__)


class Pkcs11Provider(Provider):
    """Keys in a token."""

    identity = ProviderIdentity(
        provider_id=2,
        uuid="30e39502-eba6-4d60-a4af-c518b7f5e38f",
        description="PKCS #11 provider, interfacing with a PKCS #11 library.",
        vendor="OASIS Standard.",
        version=(0, 1, 0),
    )
    keeps_keys: ClassVar[bool] = True
    needs_host: bool = True

    def __init__(self, settings: Pkcs11Settings, *, isolate: bool = True) -> None:
        """``isolate``: this process is not to load the module, but those forked from it are."""
        self._settings = settings
        self._page = SharedPage()
        self._isolating_process = process_id() if isolate else 0
        self._state = State()
        self._token: Token | None = None
        self._capabilities = Capabilities(0, UNKNOWN)

    def start(self, state: bytes | None) -> bytes | None:
        """Look what the token can do. A token that is away is no reason not to start: the log says what is missing."""
        self._state = State.from_bytes(state)
        try:
            answer = isolated(self._try_out) if self._is_isolating else self._try_out()
        except PsaError as error:  # the module took the process with it, or never answered
            answer = error.detail.encode() + b"\0" + bytes(self._state)
        failure, _, after = answer.partition(b"\0")
        self._state = State.from_bytes(after)
        if failure:
            _log.warning("PKCS#11 module %s: not available: %s", self._settings.library_path, failure.decode())
        if self._state.profile is not None and not self._page.generation:
            self._page.write(after)
        return bytes(self._state)

    def capabilities(self) -> Capabilities:
        if self._page.generation != self._capabilities.generation:
            generation, data = self._page.read()
            profile = State.from_bytes(data).profile
            assert profile is not None
            offered = rows(
                profile,
                software_public_operations=self._settings.software_public_operations,
                allow_export=self._settings.allow_export,
            )
            self._capabilities = Capabilities(generation, offered)
        return self._capabilities

    def plan(self, attributes: KeyAttributes) -> bytes:
        """A CKA_ID at random. It is planned only while there is a token, so that nothing is reserved in vain."""
        self._check_makable(attributes)
        return bytes(KeyReference(attributes.key_type, bytes(engine.random(PLANNED_ID_BYTES))))

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        if reference is None:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key of this provider needs a planned place")
        place = KeyReference.from_bytes(reference)
        self._check_makable(attributes)
        function = Function.GENERATE_KEY if material is None else Function.IMPORT_KEY
        if material is not None and self._holds(Function.IMPORT_KEY, attributes):
            attributes = checked(attributes, material)
        self._check_size(function, attributes)
        token = self._get_token()
        by_copy = token.makes_by_copy
        tries = count()

        def make(session: Session) -> None:
            if next(tries):
                keys.destroy(session, place)  # what a try that was cut off may have left
            if material is None:
                keys.generate(session, attributes, place.object_id, token.protection, by_copy=by_copy)
            else:
                keys.put(session, attributes, place.object_id, material, token.protection, by_copy=by_copy)

        token.run(make)
        return Created(reference, attributes)

    def destroy(self, reference: bytes) -> None:
        place = KeyReference.from_bytes(reference)
        if self._is_isolating:
            isolated(lambda: self._destroy(place))
        else:
            self._destroy(place)

    def exists(self, reference: bytes) -> bool:
        place = KeyReference.from_bytes(reference)
        if self._is_isolating:
            return isolated(lambda: b"\1" if self._exists(place) else b"\0") == b"\1"
        return self._exists(place)

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        return TokenKey(reference, attributes)

    def export_key(self, key: LoadedKey) -> Secret:
        attributes = key.attributes
        if attributes.key_type.is_public_key:
            return Secret(self.export_public_key(key))
        if not self._settings.allow_export:
            raise PsaError(PsaStatus.NOT_PERMITTED, "allow_export is false")
        return self._in_token(key, lambda session, handle: keys.read_private(session, attributes, handle))

    def export_public_key(self, key: LoadedKey) -> bytes:
        attributes = key.attributes
        if not attributes.key_type.is_asymmetric:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the key has no public key")
        return self._in_token(
            key, lambda session, handle: keys.read_public(session, attributes, handle), is_public=True
        )

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        self._require(Function.SIGN_HASH, key, alg)
        mechanism, data = operations.signature_input(key.attributes, alg, hash_value)
        return self._in_token(key, lambda session, handle: session.sign(mechanism, handle, data))

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        self._require(Function.VERIFY_HASH, key, alg)
        if self._is_software(key):
            self._public_engine(key).verify_hash(alg, hash_value, signature)
            return
        mechanism, data = operations.signature_input(key.attributes, alg, hash_value)
        if len(signature) != operations.signature_bytes(key.attributes):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)
        self._in_token(
            key,
            lambda session, handle: session.verify(mechanism, handle, data, signature),
            is_public=True,
            fault=PsaStatus.INVALID_SIGNATURE,
        )

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> bytes:
        """Hashed in this process: a message is no secret of the token's, and may be too long for it."""
        self._require(Function.SIGN_MESSAGE, key, alg)
        return self.sign_hash(key, alg, _hashed(alg, message))

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> None:
        self._require(Function.VERIFY_MESSAGE, key, alg)
        self.verify_hash(key, alg, _hashed(alg, message), signature)

    def asymmetric_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes, salt: bytes) -> bytes:
        self._require(Function.ASYMMETRIC_ENCRYPT, key, alg)
        mechanism, most_bytes = self._encryption(key, alg, salt)
        if self._is_software(key) or not plaintext:  # and nothing at all cannot be given to a token (see `native`)
            return self._public_engine(key).asymmetric_encrypt(alg, plaintext, salt)
        operations.check_plaintext(plaintext, most_bytes)
        return self._in_token(
            key, lambda session, handle: session.encrypt(mechanism, handle, plaintext), is_public=True
        )

    def asymmetric_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Secret:
        self._require(Function.ASYMMETRIC_DECRYPT, key, alg)
        mechanism, _ = self._encryption(key, alg, salt)
        operations.check_ciphertext(key.attributes, ciphertext)
        return self._in_token(
            key,
            lambda session, handle: session.decrypt(mechanism, handle, ciphertext),
            fault=PsaStatus.INVALID_PADDING,
        )

    def aead_encrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> bytes:
        self._require(Function.AEAD_ENCRYPT, key, alg)
        mechanism = operations.gcm(alg, nonce, additional_data)
        return self._in_token(key, lambda session, handle: session.encrypt(mechanism, handle, plaintext))

    def aead_decrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Secret:
        self._require(Function.AEAD_DECRYPT, key, alg)
        mechanism = operations.gcm(alg, nonce, additional_data)
        operations.check_sealed(alg, ciphertext)
        return self._in_token(
            key,
            lambda session, handle: session.decrypt(mechanism, handle, ciphertext),
            fault=PsaStatus.INVALID_SIGNATURE,
        )

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> bytes:
        self._require(Function.CIPHER_ENCRYPT, key, alg)
        return self._in_token(key, lambda session, handle: operations.cipher_encrypt(session, handle, alg, plaintext))

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Secret:
        self._require(Function.CIPHER_DECRYPT, key, alg)
        return self._in_token(
            key,
            lambda session, handle: operations.cipher_decrypt(session, handle, alg, ciphertext),
            fault=PsaStatus.INVALID_PADDING if alg == Algorithm.CBC_PKCS7 else None,
        )

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> bytes:
        self._require(Function.MAC_COMPUTE, key, alg)
        mechanism = operations.mac_mechanism(alg)
        return self._in_token(key, lambda session, handle: session.sign(mechanism, handle, data))

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> None:
        self._require(Function.MAC_VERIFY, key, alg)
        mechanism = operations.mac_mechanism(alg)
        if len(mac) != operations.mac_bytes(alg):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)
        self._in_token(
            key,
            lambda session, handle: session.verify(mechanism, handle, data, mac),
            fault=PsaStatus.INVALID_SIGNATURE,
        )

    def hash_compute(self, alg: Hash, data: bytes) -> bytes:
        if not any(Algorithm.from_hash(alg) in row.algorithms for row in self._ready_capabilities().rows):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the token does not have {alg.name}")
        return self._run(lambda session: operations.digest(session, alg, data))

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> None:
        if self.hash_compute(alg, data) != hash_value:
            raise PsaError(PsaStatus.INVALID_SIGNATURE)

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Secret:
        self._require(Function.RAW_KEY_AGREEMENT, key, alg)
        attributes = key.attributes
        # Not every token looks whether the point is on the curve, and one that does not gives its key away.
        checked(replace(attributes, key_type=attributes.key_type.public_of_pair), Secret(peer_key))
        return self._in_token(key, lambda session, handle: operations.agree(session, handle, attributes, peer_key))

    def generate_random(self, size_bytes: int) -> Secret:
        return self._run(lambda session: session.random(size_bytes))

    def close(self) -> None:
        """Give the token and the module back; the next call takes them again."""
        if self._token is not None:
            self._token.close()

    @property
    def _is_isolating(self) -> bool:
        return process_id() == self._isolating_process

    def _try_out(self) -> bytes:
        """Connect once: what was wrong, a NUL, and the state thereafter."""
        token, failure = self._get_token(), ""
        try:
            token.connect()
        except PsaError as error:
            failure = error.detail
        return failure.encode() + b"\0" + bytes(token.state)

    def _destroy(self, place: KeyReference) -> bytes:
        token = self._get_token()

        def destroy(session: Session) -> None:
            if not keys.destroy(session, place):
                token.confirm()

        self._run(destroy)
        return b""

    def _exists(self, place: KeyReference) -> bool:
        token = self._get_token()

        def look(session: Session) -> bool:
            found = keys.is_there(session, place)
            if not found:
                token.confirm()
            return found

        return self._run(look)

    def _get_token(self) -> Token:
        if self._token is None:
            self._token = Token(self._settings, self._page, self._state)
        return self._token

    def _ready_capabilities(self) -> Capabilities:
        """Those of the token, which is looked for if it was never seen."""
        if not self._page.generation:
            self._get_token().connect()
        return self.capabilities()

    def _check_makable(self, attributes: KeyAttributes) -> None:
        """Whether the key could be of any use here: upstream asks this before anything else, too."""
        if (
            attributes.usage & UsageFlags.EXPORT
            and not self._settings.allow_export
            and not attributes.key_type.is_public_key
        ):
            raise PsaError(PsaStatus.NOT_PERMITTED, "allow_export is false, so no key can be made that may be exported")
        self._get_token().connect()

    def _holds(self, function: Function, attributes: KeyAttributes) -> bool:
        return any(
            function in row.functions and row.key_type == attributes.key_type for row in self._ready_capabilities().rows
        )

    def _check_size(self, function: Function, attributes: KeyAttributes) -> None:
        if attributes.key_type.is_public_key and function is Function.GENERATE_KEY:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a public key cannot be generated")
        if not attributes.key_bits and self._holds(function, attributes):
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key has a size")
        capabilities = self._ready_capabilities()
        if not capabilities.can_hold(function, attributes.key_type, attributes.key_bits):
            kind = f"{attributes.key_type!r} of {attributes.key_bits} bits"
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the token cannot hold {kind}")
        # A public key may be kept for others to get, whatever it is for.
        needs_use = attributes.algorithm != Algorithm.NONE and not attributes.key_type.is_public_key
        if needs_use and not capabilities.can_use(USES, attributes):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the token does not have {attributes.algorithm!r} for such a key")

    def _require(self, function: Function, key: LoadedKey, alg: Algorithm) -> None:
        asked = replace(key.attributes, algorithm=alg)
        if not self._ready_capabilities().can_use(function, asked):
            status = PsaStatus.NOT_SUPPORTED if compatible(asked.key_type, alg) else PsaStatus.INVALID_ARGUMENT
            raise PsaError(status, f"a key of type {asked.key_type!r} does not do this under {alg!r} here")

    def _encryption(self, key: LoadedKey, alg: Algorithm, label: bytes) -> tuple[Mechanism, int]:
        profile = self._get_token().state.profile
        if label and alg.is_rsa_oaep and profile is not None and not profile.oaep_labels:
            raise PsaError(PsaStatus.NOT_SUPPORTED, "the token takes no label (salt) for OAEP")
        return operations.encryption(key.attributes, alg, label)

    def _is_software(self, key: LoadedKey) -> bool:
        """Whether what the public key can do is done here, on a curve that the engine has."""
        if not self._settings.software_public_operations:
            return False
        return is_known_to_engine(key.attributes.key_type.public_of_pair, key.attributes.key_bits)

    def _public_engine(self, key: LoadedKey) -> EngineKey:
        assert isinstance(key, TokenKey)
        if key.public_engine is None:
            attributes = replace(key.attributes, key_type=key.attributes.key_type.public_of_pair)
            key.public_engine = engine.load(attributes, Secret(self.export_public_key(key)))
        return key.public_engine

    def _in_token(
        self,
        key: LoadedKey,
        function: Callable[[Session, int], _T],
        *,
        is_public: bool = False,
        fault: PsaStatus | None = None,
    ) -> _T:
        """What ``function`` does with a key's object. ``fault`` is what an error means if the data is its reason."""
        if not isinstance(key, TokenKey):
            raise PsaError(PsaStatus.INVALID_HANDLE, "the key was loaded by another provider")
        token = self._get_token()

        def use(session: Session) -> _T:
            find = key.public if is_public else key.private
            handle = find(session, token.epoch)
            if handle is None:
                token.confirm()
                raise PsaError(PsaStatus.DOES_NOT_EXIST, "the token has no such key")
            return function(session, handle)

        return self._run(use, fault=fault)

    def _run(self, function: Callable[[Session], _T], *, fault: PsaStatus | None = None) -> _T:
        try:
            return self._get_token().run(function)
        except CkrError as error:
            if fault is None:
                raise
            raise operations.meaning(error, fault) from error


class Pkcs11ProviderType(ProviderType):
    """``provider_type = "Pkcs11"``."""

    provider_type: ClassVar[str] = "Pkcs11"
    default_name: ClassVar[str] = "pkcs11-provider"
    settings: ClassVar[type[Any]] = Pkcs11Settings

    def open(self, settings: Pkcs11Settings, *, store_path: Path) -> Pkcs11Provider:
        return Pkcs11Provider(settings)

    def adopted(self, key_id: bytes, attributes: KeyAttributes) -> bytes:
        """Upstream writes a u32, little-endian, whose CKA_ID is big-endian."""
        if len(key_id) != _UPSTREAM_ID_BYTES:
            raise PsaError(PsaStatus.DATA_INVALID, f"the record's id has {len(key_id)} bytes")
        return bytes(KeyReference(attributes.key_type, key_id[::-1]))


def _hashed(alg: Algorithm, message: bytes) -> bytes:
    if alg.hash is None:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{alg!r} names no hash for a message")
    return engine.hash_compute(alg.hash, message)
