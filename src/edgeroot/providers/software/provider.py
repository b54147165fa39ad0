"""The software provider under the identity of upstream's Mbed Crypto provider, so that clients find what they know.

A key's reference is its material, sealed under the wrapping key with the key's attributes as context: whoever could
change the stored attributes would get no key. The provider itself keeps nothing but the wrapping key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache, reduce
from operator import or_
from pathlib import Path
from typing import Any, ClassVar, Final

from edgeroot import engine
from edgeroot.engine import EngineKey
from edgeroot.providers.api import (
    Capabilities,
    Capability,
    Created,
    Function,
    LoadedKey,
    Provider,
    ProviderIdentity,
    ProviderType,
)
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret
from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.key_file import key_file
from edgeroot.sealing.tpm import TpmPlace, parse_pcrs
from edgeroot.sealing.tpm_connection import device_of
from edgeroot.sealing.wrapping_key import WrappingKey

# Measured on one core of 2.5 GHz: below these, no call reaches 2 ms.
_SLOW_INPUT_BYTES: Final = 256 * 1024
_SLOW_CIPHER_INPUT_BYTES: Final = {KeyType.DES: 32 * 1024, KeyType.CAMELLIA: 128 * 1024}
_SLOW_RSA_BITS: Final = 3072
_SLOW_BRAINPOOL_BITS: Final = 384
_BRAINPOOL: Final = KeyType.ecc_public_key(EccFamily.BRAINPOOL_P_R1)
_RSA_PRIVATE: Final = Function.SIGN_HASH | Function.SIGN_MESSAGE | Function.ASYMMETRIC_DECRYPT
_KEY_MAKING: Final = Function.GENERATE_KEY | Function.IMPORT_KEY
_DH_COMPUTING: Final = Function.GENERATE_KEY | Function.EXPORT_PUBLIC_KEY | Function.RAW_KEY_AGREEMENT


@dataclass(frozen=True, slots=True)
class SoftwareSettings:
    """The keys of the ``[[provider]]`` table."""

    wrapping_key_file: str | None = field(
        default=None,
        metadata={
            "meaning": "The file, readable by the service only, with the key under which all key material is stored "
            "encrypted.",
            "otherwise": "beside the key store",
            "ours": True,
        },
    )
    wrapping_key_tcti: str | None = field(
        default=None,
        metadata={
            "meaning": "The TPM that the key in that file is [sealed to](sealing.md), as the TSS names it: "
            "`device:/dev/tpmrm0`.",
            "ours": True,
        },
    )
    wrapping_key_pcrs: str = field(
        default="",
        metadata={
            "meaning": 'Registers such as `"0,7"` to whose contents a new wrapping key is bound, too.',
            "otherwise": "none",
            "ours": True,
        },
    )

    def __post_init__(self) -> None:
        if self.wrapping_key_pcrs and self.wrapping_key_tcti is None:
            raise ValueError("wrapping_key_pcrs is of a TPM: say with wrapping_key_tcti of which")
        self.place()

    def place(self) -> TpmPlace | None:
        """The TPM, if there is one; ValueError for registers that no TPM has."""
        if self.wrapping_key_tcti is None:
            return None
        return TpmPlace(self.wrapping_key_tcti, parse_pcrs(self.wrapping_key_pcrs))


class SoftwareKey(LoadedKey):
    """A key unsealed and parsed."""

    __slots__ = ("engine",)

    def __init__(self, reference: bytes, attributes: KeyAttributes, engine_key: EngineKey) -> None:
        super().__init__(reference, attributes)
        self.engine: Final = engine_key


@cache
def _capabilities() -> Capabilities:
    return Capabilities(generation=0, rows=tuple(_capability(row) for row in engine.rows()))


def _capability(row: engine.Row) -> Capability:
    functions = reduce(or_, (Function[name.upper()] for name in row.functions))
    return Capability(functions, row.key_type, row.key_bits, row.algorithms)


@lru_cache(maxsize=4096)
def _slow_from_bytes(function: Function, key_type: KeyType, key_bits: int) -> int:
    """The length of the input from which on a call is slow; 0 where it always is."""
    if key_type == KeyType.RSA_KEY_PAIR:
        # To import a key pair is to prove its primes.
        always = function in _KEY_MAKING or (function in _RSA_PRIVATE and key_bits > _SLOW_RSA_BITS)
    elif key_type.is_dh:
        always = key_type.is_key_pair and function in _DH_COMPUTING
    else:
        always = key_type.public_of_pair == _BRAINPOOL and key_bits >= _SLOW_BRAINPOOL_BITS
    return 0 if always else _SLOW_CIPHER_INPUT_BYTES.get(key_type, _SLOW_INPUT_BYTES)


def _engine(key: LoadedKey) -> EngineKey:
    if not isinstance(key, SoftwareKey):
        raise PsaError(PsaStatus.INVALID_HANDLE, "the key was loaded by another provider")
    return key.engine


class SoftwareProvider(Provider):
    """Keys in the store, cryptography in this process."""

    identity = ProviderIdentity(
        provider_id=1,
        uuid="1c1139dc-ad7c-47dc-ad6b-db6fdb466552",
        description=(
            "User space software provider, based on Mbed Crypto - the reference implementation of the PSA crypto API"
        ),
        vendor="Arm",
        version=(0, 1, 0),
    )

    def __init__(self, wrapping_key_file: Path, place: TpmPlace | None = None) -> None:
        self._wrapping_key_file = wrapping_key_file
        self._place = place
        self._wrapping_key: WrappingKey | None = None

    def start(self, state: bytes | None) -> bytes:
        """Open the wrapping key, and make it the first time; the state is its fingerprint.

        PsaError with STORAGE_FAILURE if the file is missing or unusable, DATA_INVALID if it is not the one that the
        stored keys were sealed under.
        """
        try:
            wrapping_key = key_file(self._wrapping_key_file, create=state is None, place=self._place)
        except SealingError as error:
            raise PsaError(PsaStatus.STORAGE_FAILURE, str(error)) from error
        if state not in (None, wrapping_key.fingerprint):
            raise PsaError(
                PsaStatus.DATA_INVALID,
                f"{self._wrapping_key_file} is not the wrapping key of the stored keys: put the right file back, "
                f"or correct wrapping_key_file",
            )
        self._wrapping_key = wrapping_key
        return wrapping_key.fingerprint

    def capabilities(self) -> Capabilities:
        return _capabilities()

    def is_slow(self, function: Function, attributes: KeyAttributes | None, input_bytes: int) -> bool:
        """For GENERATE_RANDOM ``input_bytes`` is the number of bytes asked for."""
        if attributes is None:
            return input_bytes >= _SLOW_INPUT_BYTES
        return input_bytes >= _slow_from_bytes(function, attributes.key_type, attributes.key_bits)

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        if material is None:
            secret = engine.generate(attributes)
        else:
            attributes, secret = engine.import_material(attributes, material)
        return Created(self._key_of_start().seal(secret, bytes(attributes)), attributes)

    def destroy(self, reference: bytes) -> None:
        """Nothing is left to do: the key is gone with its reference."""

    def exists(self, reference: bytes) -> bool:
        """Always: the reference is the key."""
        return True

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        """DATA_CORRUPT if the reference was changed or was not made for these attributes."""
        return SoftwareKey(reference, attributes, engine.load(attributes, self._unseal(reference, attributes)))

    def export_key(self, key: LoadedKey) -> Secret:
        return engine.export(key.attributes, self._unseal(key.reference, key.attributes))

    def export_public_key(self, key: LoadedKey) -> bytes:
        return _engine(key).export_public()

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        return _engine(key).sign_hash(alg, hash_value)

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        _engine(key).verify_hash(alg, hash_value, signature)

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> bytes:
        return _engine(key).sign_message(alg, message)

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> None:
        _engine(key).verify_message(alg, message, signature)

    def asymmetric_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes, salt: bytes) -> bytes:
        return _engine(key).asymmetric_encrypt(alg, plaintext, salt)

    def asymmetric_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Secret:
        return _engine(key).asymmetric_decrypt(alg, ciphertext, salt)

    def aead_encrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> bytes:
        return _engine(key).aead_encrypt(alg, nonce=nonce, additional_data=additional_data, plaintext=plaintext)

    def aead_decrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Secret:
        return _engine(key).aead_decrypt(alg, nonce=nonce, additional_data=additional_data, ciphertext=ciphertext)

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> bytes:
        return _engine(key).cipher_encrypt(alg, plaintext)

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Secret:
        return _engine(key).cipher_decrypt(alg, ciphertext)

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> bytes:
        return _engine(key).mac_compute(alg, data)

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> None:
        _engine(key).mac_verify(alg, data, mac)

    def hash_compute(self, alg: Hash, data: bytes) -> bytes:
        return engine.hash_compute(alg, data)

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> None:
        engine.hash_compare(alg, data, hash_value)

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Secret:
        return _engine(key).raw_key_agreement(alg, peer_key)

    def generate_random(self, size_bytes: int) -> Secret:
        return engine.random(size_bytes)

    def _key_of_start(self) -> WrappingKey:
        if self._wrapping_key is None:
            raise PsaError(PsaStatus.BAD_STATE, "the provider was not started")
        return self._wrapping_key

    def _unseal(self, reference: bytes, attributes: KeyAttributes) -> Secret:
        try:
            return self._key_of_start().unseal(reference, bytes(attributes))
        except SealingError as error:
            raise PsaError(PsaStatus.DATA_CORRUPT, str(error)) from error


class SoftwareProviderType(ProviderType):
    """``provider_type = "MbedCrypto"``."""

    provider_type: ClassVar[str] = "MbedCrypto"
    default_name: ClassVar[str] = "mbed-crypto-provider"
    settings: ClassVar[type[Any]] = SoftwareSettings
    adopts_material: ClassVar[bool] = True

    def devices(self, settings: SoftwareSettings) -> tuple[Path, ...]:
        """The TPM that the wrapping key is sealed to: a reload may ask it again."""
        device = None if settings.wrapping_key_tcti is None else device_of(settings.wrapping_key_tcti)
        return () if device is None else (device,)

    def open(self, settings: SoftwareSettings, *, store_path: Path) -> SoftwareProvider:
        if settings.wrapping_key_file is not None:
            return SoftwareProvider(Path(settings.wrapping_key_file), settings.place())
        return SoftwareProvider(store_path.with_name(store_path.name + ".key"), settings.place())
