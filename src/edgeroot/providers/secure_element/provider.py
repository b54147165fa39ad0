"""The secure element provider under the identity of upstream's: keys in the slots of an ATECC508A or ATECC608.

What takes a secret, and verifying, is done in the element. A hash takes none, and an element needs 10 ms for 64 bytes
of it: that is done here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hmac import compare_digest
from pathlib import Path
from typing import Any, ClassVar, Final

from edgeroot import engine
from edgeroot.element import aes
from edgeroot.element.access_keys import parse_access_keys
from edgeroot.element.element import Key
from edgeroot.element.keys import ElementKeys
from edgeroot.element.native.files import SlotFiles, read_access_keys
from edgeroot.element.native.library import LibraryElement, i2c
from edgeroot.element.native.process import apart
from edgeroot.element.settings import parse_slots
from edgeroot.element.slots import PAIR, PUBLIC
from edgeroot.providers.api import (
    Capabilities,
    Created,
    Function,
    LoadedKey,
    Provider,
    ProviderIdentity,
    ProviderType,
)
from edgeroot.providers.secure_element.capabilities import UNKNOWN, capabilities
from edgeroot.providers.secure_element.reference import (
    name_in,
    new_reference,
    reference_of_upstream,
    slot_of_upstream,
)
from edgeroot.providers.secure_element.settings import SecureElementSettings
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags

_COORDINATE_BYTES: Final = 32
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SP 800-186 §3.2.1.3)
# What an element can do in a minute, after which the service by default no longer waits, and nobody else is served.
_MOST_BYTES: Final = 16 * 1024
_MOST_RANDOM_BYTES: Final = 64 * 1024
_BITS: Final = {PAIR: 256, PUBLIC: 256, KeyType.AES: 128}  # where an element has one size only
_P256: Final = KeyAttributes(PAIR, 256, UsageFlags.NONE, Algorithm.NONE)
_USES: Final = (
    Function.SIGN_HASH
    | Function.VERIFY_HASH
    | Function.RAW_KEY_AGREEMENT
    | Function.CIPHER_ENCRYPT
    | Function.AEAD_ENCRYPT
    | Function.MAC_COMPUTE
)


class ElementKey(LoadedKey):
    """A key by its name in the list of slots, with its public key as soon as that was asked for."""

    __slots__ = ("name", "point")

    def __init__(self, reference: bytes, attributes: KeyAttributes) -> None:
        super().__init__(reference, attributes)
        self.name: Final = name_in(reference)
        self.point: bytes | None = None


class SecureElementProvider(Provider):
    """Keys in a secure element."""

    identity = ProviderIdentity(
        provider_id=5,
        uuid="b8ba81e2-e9f7-4bdd-b096-a29d0019960c",
        description=(
            "User space hardware provider, utilizing MicrochipTech CryptoAuthentication Library for ATECCx08 chips"
        ),
        vendor="Arm",
        version=(0, 1, 0),
    )
    keeps_keys: ClassVar[bool] = True
    needs_host: bool = True

    def __init__(self, keys: ElementKeys) -> None:
        self._keys = keys
        self._capabilities = UNKNOWN

    # Its life

    def start(self, state: bytes | None) -> bytes | None:
        return self._keys.start(state)

    def close(self) -> None:
        self._keys.close()

    def capabilities(self) -> Capabilities:
        if self._capabilities is UNKNOWN and (part := self._keys.seen()) is not None:
            self._capabilities = capabilities(part)
        return self._capabilities

    def is_slow(self, function: Function, attributes: KeyAttributes | None, input_bytes: int) -> bool:
        """An element takes 20 ms at least for anything."""
        del attributes, input_bytes
        return function not in Function.HASH_COMPUTE | Function.HASH_COMPARE

    def _found_capabilities(self) -> Capabilities:
        """Those of the element, which is looked for if it was never seen."""
        self._keys.find()
        return self.capabilities()

    # Making keys

    def plan(self, attributes: KeyAttributes) -> bytes:
        """A name for the key; INSUFFICIENT_STORAGE if no slot for such a key is free."""
        self._check_held(Function.GENERATE_KEY | Function.IMPORT_KEY, attributes)
        self._keys.check_room(attributes)
        return new_reference()

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        if reference is None:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key of this provider needs a planned place")
        name = name_in(reference)
        if material is None:
            self._check_held(Function.GENERATE_KEY, attributes)
        else:
            self._check_held(Function.IMPORT_KEY, attributes)
            attributes, material = engine.import_material(attributes, material)
        self._check_held(Function.GENERATE_KEY if material is None else Function.IMPORT_KEY, attributes)
        self._keys.make(name, attributes, material)
        return Created(reference, attributes)

    def _check_held(self, functions: Function, attributes: KeyAttributes) -> None:
        """Whether such keys come here in one of these ways. Size 0 stands for one that is inferred."""
        key_type, key_bits, alg = attributes.key_type, attributes.key_bits, attributes.algorithm
        offered = self._found_capabilities()
        rows = [row for row in offered.rows if row.functions & functions and row.key_type == key_type]
        if not rows:
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"keys of type {key_type!r} do not come into this element so")
        infers = key_bits == 0 and functions & Function.IMPORT_KEY
        if not infers and not any(key_bits in row.key_bits for row in rows):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the element has no keys {key_type!r} of {key_bits} bits")
        if key_type.is_public_key or alg == Algorithm.NONE:
            return
        some_bits = next(iter(rows[0].key_bits)) if infers else key_bits
        if not offered.can_use(_USES, replace(attributes, key_bits=some_bits)):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the element does not have {alg!r} for such a key")

    def destroy(self, reference: bytes) -> None:
        self._keys.destroy(name_in(reference))

    def exists(self, reference: bytes) -> bool:
        return self._keys.has(name_in(reference))

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        return ElementKey(reference, attributes)

    # Keys of upstream's

    def check_adopted(self, reference: bytes, attributes: KeyAttributes) -> KeyAttributes:
        bits = attributes.key_bits or _BITS.get(attributes.key_type, 0)  # upstream writes 0 down if an import said so
        found = replace(attributes, key_bits=bits)
        part = self._keys.check_foreign(name_in(reference), slot_of_upstream(reference), found)
        offered = capabilities(part)
        is_held = any(row.key_type == found.key_type and bits in row.key_bits for row in offered.rows)
        if not is_held or (found.algorithm != Algorithm.NONE and not offered.can_use(_USES, found)):
            message = f"no {found.key_type!r} of {bits} bits with {found.algorithm!r} can be used in this element"
            raise PsaError(PsaStatus.NOT_SUPPORTED, message)
        return found

    def adopt(self, reference: bytes) -> None:
        self._keys.take(name_in(reference), slot_of_upstream(reference))

    # Using keys

    def _own(self, key: LoadedKey, function: Function, alg: Algorithm) -> ElementKey:
        own = _element_key(key)
        if not self._found_capabilities().can_use(function, replace(key.attributes, algorithm=alg)):
            message = f"a key of type {key.attributes.key_type!r} does not do this with {alg!r}"
            raise PsaError(PsaStatus.INVALID_ARGUMENT, message)
        return own

    def _point(self, key: ElementKey) -> bytes:
        if key.point is None:
            with self._keys.use(key.name) as (element, slot):
                is_pair = key.attributes.key_type == PAIR
                key.point = element.public_key(slot) if is_pair else element.read_public(slot)
        return key.point

    def export_public_key(self, key: LoadedKey) -> bytes:
        own = _element_key(key)
        if key.attributes.key_type not in (PAIR, PUBLIC):
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key of this type has no public key")
        return b"\x04" + self._point(own)

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        own = self._own(key, Function.SIGN_HASH, alg)
        _check_digest(hash_value)
        with self._keys.use(own.name) as (element, slot):
            return element.sign(slot, hash_value)

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> bytes:
        self._own(key, Function.SIGN_MESSAGE, alg)
        return self.sign_hash(key, alg, engine.hash_compute(Hash.SHA_256, message))

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        own = self._own(key, Function.VERIFY_HASH, alg)
        _check_digest(hash_value)
        # What cannot be a signature is none; an element would call it a fault.
        parts = [int.from_bytes(signature[at : at + _COORDINATE_BYTES], "big") for at in (0, _COORDINATE_BYTES)]
        if len(signature) != 2 * _COORDINATE_BYTES or not all(0 < part < _ORDER for part in parts):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)
        point = self._point(own)
        with self._keys.use(own.name) as (element, _):
            if not element.verify(point, hash_value, signature):
                raise PsaError(PsaStatus.INVALID_SIGNATURE)

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> None:
        self._own(key, Function.VERIFY_MESSAGE, alg)
        self.verify_hash(key, alg, engine.hash_compute(Hash.SHA_256, message), signature)

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Secret:
        own = self._own(key, Function.RAW_KEY_AGREEMENT, alg)
        # A point that is not on the curve is refused here: it is the caller's fault, not the element's.
        _, peer = engine.import_material(replace(_P256, key_type=PUBLIC), peer_key)
        with self._keys.use(own.name) as (element, slot):
            return element.agree(slot, peer[1:])

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> bytes:
        _check_size(len(plaintext))
        with self._keys.use(self._own(key, Function.CIPHER_ENCRYPT, alg).name) as (element, slot):
            return aes.encrypt(element, slot, alg, plaintext)

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Secret:
        _check_size(len(ciphertext))
        with self._keys.use(self._own(key, Function.CIPHER_DECRYPT, alg).name) as (element, slot):
            return aes.decrypt(element, slot, alg, ciphertext)

    def aead_encrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> bytes:
        _check_size(len(plaintext) + len(additional_data))
        with self._keys.use(self._own(key, Function.AEAD_ENCRYPT, alg).name) as (element, slot):
            return aes.seal(element, slot, alg, nonce=nonce, additional_data=additional_data, plaintext=plaintext)

    def aead_decrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Secret:
        _check_size(len(ciphertext) + len(additional_data))
        with self._keys.use(self._own(key, Function.AEAD_DECRYPT, alg).name) as (element, slot):
            return aes.unseal(element, slot, alg, nonce=nonce, additional_data=additional_data, sealed=ciphertext)

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> bytes:
        own = self._own(key, Function.MAC_COMPUTE, alg)
        _check_size(len(data))
        with self._keys.use(own.name) as (element, slot):
            return element.cmac(slot, data) if key.attributes.key_type == KeyType.AES else element.hmac(slot, data)

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> None:
        if not compare_digest(self.mac_compute(key, alg, data), mac):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)

    # Without keys

    def hash_compute(self, alg: Hash, data: bytes) -> bytes:
        if alg is not Hash.SHA_256:
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the element does not have {alg.name}")
        return engine.hash_compute(alg, data)

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> None:
        if not compare_digest(self.hash_compute(alg, data), hash_value):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)

    def generate_random(self, size_bytes: int) -> Secret:
        _check_size(size_bytes, _MOST_RANDOM_BYTES)
        out = bytearray()
        while len(out) < size_bytes:
            out += self._keys.random()
        return Secret(out[:size_bytes])


def _element_key(key: LoadedKey) -> ElementKey:
    assert isinstance(key, ElementKey), "the service gives each provider its own keys"
    return key


def _check_digest(hash_value: bytes) -> None:
    if len(hash_value) != Hash.SHA_256.length_bytes:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"a hash of {len(hash_value)} bytes is not one of SHA-256")


def _check_size(size_bytes: int, most_bytes: int = _MOST_BYTES) -> None:
    if size_bytes > most_bytes:
        message = f"an element takes too long for {size_bytes} bytes: {most_bytes} at a time are the most"
        raise PsaError(PsaStatus.NOT_SUPPORTED, message)


class SecureElementProviderType(ProviderType):
    """``provider_type = "CryptoAuthLib"``."""

    provider_type: ClassVar[str] = "CryptoAuthLib"
    default_name: ClassVar[str] = "cryptoauthlib-provider"
    settings: ClassVar[type[Any]] = SecureElementSettings

    def adopted(self, key_id: bytes, attributes: KeyAttributes) -> bytes:
        del attributes
        return reference_of_upstream(key_id)

    def devices(self, settings: SecureElementSettings) -> tuple[Path, ...]:
        return (settings.node,)

    def open(self, settings: SecureElementSettings, *, store_path: Path) -> SecureElementProvider:
        def access_keys() -> Mapping[int, Key]:
            path = settings.access_key_file_name
            return {} if path is None else parse_access_keys(read_access_keys(path))

        return SecureElementProvider(
            ElementKeys(
                lambda: LibraryElement(i2c(settings)),
                SlotFiles(store_path, f"i2c-{settings.bus}-{settings.slave_address:02x}"),
                device=settings.device,
                allowed=parse_slots(settings.slots),
                access_keys=access_keys,
                apart=apart,
            )
        )
