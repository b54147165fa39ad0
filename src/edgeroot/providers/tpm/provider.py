"""The TPM provider under the identity of upstream's: key pairs that only the TPM of this device can use.

A pair is a child of the TPM's storage primary key, and its reference is the blob that TPM2_Create or TPM2_Import gave.
What takes no secret is done in software: hashes, signatures verified, data encrypted to a public key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hmac import compare_digest
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from edgeroot import engine
from edgeroot.evidence import write_tpm_evidence
from edgeroot.evidence.tpm_structures import MalformedError, Public, Reader, Scheme, sized
from edgeroot.providers.api import (
    BackEndAbsentError,
    Capabilities,
    Created,
    Function,
    LoadedKey,
    Provider,
    ProviderIdentity,
    ProviderType,
)
from edgeroot.providers.tpm import symmetric
from edgeroot.providers.tpm.adopted import upstreams_key
from edgeroot.providers.tpm.attestation import certify, quote
from edgeroot.providers.tpm.capabilities import Inventory
from edgeroot.providers.tpm.connection import Connection
from edgeroot.providers.tpm.device import Lock, Opened, TpmDevice
from edgeroot.providers.tpm.errors import BAD_AUTH, FAILURE, INTEGRITY, MAKING_PRIMARY, VALUE, TpmError
from edgeroot.providers.tpm.keys import (
    TpmKey,
    authorisation,
    endorsement_public_key,
    importable,
    load_key,
    point_of,
    psa_signature,
    width_bytes,
)
from edgeroot.providers.tpm.native.machine import DeviceLock, apart, read_authorisation
from edgeroot.providers.tpm.reference import PublicReference, SecretReference, parse_reference
from edgeroot.providers.tpm.settings import TpmSettings, parse_auth
from edgeroot.providers.tpm.templates import new_key, scheme_of
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, check_challenge
from edgeroot.sealing.tpm_connection import device_of

_T = TypeVar("_T")
_STATE_VERSION: Final = b"\x01"
_LOCK_WAIT_S: Final = 5.0
_MAX_LABEL_BYTES: Final = 64  # the largest TPM2B_DATA of a TPM without SHA-512 has less, and refuses by itself
_MAX_CREDENTIAL_BYTES: Final = 132  # of a TPM2B_ID_OBJECT with SHA-512
_MAX_SECRET_BYTES: Final = 512  # of a TPM2B_ENCRYPTED_SECRET with RSA of 4,096 bits
_SECRET: Final = (
    Function.SIGN_HASH
    | Function.ASYMMETRIC_DECRYPT
    | Function.RAW_KEY_AGREEMENT
    | Function.MAC_COMPUTE
    | Function.CIPHER_ENCRYPT
)


@dataclass(slots=True)
class Found:
    """What a start found: the primary key's name, and what the TPM has."""

    name: bytes = b""
    inventory: Inventory | None = None


class TpmProvider(Provider):
    """Key pairs in a TPM 2.0."""

    identity = ProviderIdentity(
        provider_id=3,
        uuid="1e4954a4-ff21-46d3-ab0c-661eeb667e1d",
        description=(
            "TPM provider, interfacing with a library implementing the TCG TSS 2.0 Enhanced System API specification."
        ),
        vendor="Trusted Computing Group (TCG)",
        version=(0, 1, 0),
    )
    needs_host: bool = True
    binds_callers: bool = True

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        owner_auth: Callable[[], bytes] = bytes,
        endorsement_auth: Callable[[], bytes] = bytes,
        lock: Lock | None = None,
        found: Found | None = None,
        may_be_absent: bool = False,
        apart: Callable[[Callable[[], bytes]], bytes] = lambda look: look(),
    ) -> None:
        """``lock`` is given where the TPM has room for one connection only.

        ``found`` is what an earlier instance with these settings found: if that one has the connection now, which is
        so when a running service reads its configuration again, there is no need to look. ``apart`` runs what looks at
        the TPM for :meth:`start` where it leaves no trace.
        """
        self._device = TpmDevice(connect, lock=lock, lock_wait_s=_LOCK_WAIT_S)
        self._owner_auth = owner_auth
        self._endorsement_auth = endorsement_auth
        self._capabilities: Capabilities | None = None
        self._found = Found() if found is None else found
        self._may_be_absent = may_be_absent
        self._apart = apart

    def start(self, state: bytes | None) -> bytes:
        """Find the storage primary key; the state is its name, by which a TPM that was cleared is noticed.

        DATA_INVALID if it is not the one that the stored keys belong to, COMMUNICATION_FAILURE if there is no TPM.
        """
        expected = b"" if state is None else state.removeprefix(_STATE_VERSION)
        found, owner_auth = self._found, self._owner_auth()

        def look() -> bytes:
            lock_wait_s = 0 if found.name else _LOCK_WAIT_S
            name, inventory = self._device.start(owner_auth=owner_auth, name=expected, lock_wait_s=lock_wait_s)
            return sized(name) + bytes(inventory)

        try:
            seen = self._apart(look)
            found.name = Reader(seen).sized()
            found.inventory = Inventory.from_bytes(seen[len(sized(found.name)) :])
        except TpmError as error:
            if self._may_be_absent and error.is_absent:
                raise BackEndAbsentError(error.status, error.detail) from error
            raise
        except PsaError as error:
            if error.status != PsaStatus.CONNECTION_BUSY or found.inventory is None or expected != found.name:
                raise
        self._device.resume(owner_auth=owner_auth, name=found.name)
        assert found.inventory is not None, "a name was found with it"
        self._capabilities = found.inventory.capabilities()
        return _STATE_VERSION + found.name

    def close(self) -> None:
        """Disconnect; the next operation connects again."""
        self._device.close()

    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            raise PsaError(PsaStatus.BAD_STATE, "the provider was not started")
        return self._capabilities

    # Making keys

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        if material is None:
            self._check(Function.GENERATE_KEY, attributes)
            if attributes.key_type == KeyType.HMAC:
                _check_hmac_size(attributes)
            return Created(bytes(self._create(attributes, None)), attributes)
        if not any(row.key_type == attributes.key_type for row in self.capabilities().rows):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"keys of type {attributes.key_type!r} are not in the TPM")
        attributes, material = engine.import_material(attributes, material)
        self._check(Function.IMPORT_KEY, attributes)
        if attributes.key_type.is_public_key:
            return Created(bytes(PublicReference(material)), attributes)
        if attributes.key_type.is_key_pair:
            return Created(bytes(self._import_pair(attributes, material)), attributes)
        return Created(bytes(self._create(attributes, material)), attributes)

    def _create(self, attributes: KeyAttributes, material: Secret | None) -> SecretReference:
        template = bytes(new_key(attributes, imported=material is not None))
        auth, secret = authorisation(attributes), material or Secret()
        private, public = self._device.run(
            lambda tpm: tpm.connection.create(tpm.primary.handle, template, auth, secret)
        )
        return SecretReference(private, _parsed(public))

    def _import_pair(self, attributes: KeyAttributes, material: Secret) -> SecretReference:
        area, secret = importable(attributes, material)
        auth = authorisation(attributes)
        private = self._device.run(lambda tpm: tpm.connection.import_pair(tpm.primary, bytes(area), auth, secret))
        return SecretReference(private, area)

    def _check(self, function: Function, attributes: KeyAttributes) -> None:
        capabilities = self.capabilities()
        if not capabilities.can_hold(function, attributes.key_type, attributes.key_bits):
            kind = f"{attributes.key_type!r} of {attributes.key_bits} bits"
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the TPM does not have keys of type {kind}")
        alg = attributes.algorithm
        if (
            not attributes.key_type.is_public_key
            and alg != Algorithm.NONE
            and not capabilities.can_use(_SECRET, attributes)
        ):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the TPM does not have {alg!r} for such a key")

    def destroy(self, reference: bytes) -> None:
        """The key is gone with its reference; should the TPM have it loaded, it is flushed when its turn comes."""

    def exists(self, reference: bytes) -> bool:
        """Always: the reference is the key. But one of upstream's is tried: DATA_INVALID if this TPM cannot load it."""
        parsed = parse_reference(reference)
        if isinstance(parsed, PublicReference) or not parsed.auth:
            return True
        if self._capabilities is None:  # before a start, when it is decided whether to take the key over
            self._device.resume(owner_auth=self._owner_auth(), name=b"")
        try:
            self._device.run(lambda tpm: tpm.key(parsed, parsed.auth))
        except TpmError as error:
            if error.error != INTEGRITY:
                raise
            message = (
                "this TPM did not make the key, or its owner's hierarchy was cleared since: nothing brings it back"
            )
            raise PsaError(PsaStatus.DATA_INVALID, message) from error
        return True

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        return load_key(reference, attributes, parse_reference(reference))

    # Using keys

    def export_public_key(self, key: LoadedKey) -> bytes:
        return _ours(key).public.export_public()

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        own = _ours(key)
        scheme = self._scheme(own, Function.SIGN_HASH, alg)
        if alg.hash is None or len(hash_value) != alg.hash.length_bytes:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"a hash of {len(hash_value)} bytes is not one of {alg!r}")
        signature = psa_signature(
            own.attributes,
            self._use(own, lambda tpm, handle: tpm.connection.sign(handle, hash_value, bytes(scheme))),
        )
        if alg.is_rsa_pss:
            self._check_salt(own, alg, hash_value, signature)
        return signature

    def _check_salt(self, key: TpmKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        """PSA's salt is as long as the hash; a TPM may make it as long as fits (Part 1, clause B.7)."""
        try:
            key.public.verify_hash(alg, hash_value, signature)
        except PsaError as error:
            message = "this TPM makes PSS signatures with a salt of another length than PSA's: use PKCS#1 v1.5 or ECDSA"
            raise PsaError(PsaStatus.NOT_SUPPORTED, message) from error

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> bytes:
        self._scheme(_ours(key), Function.SIGN_MESSAGE, alg)
        return self.sign_hash(key, alg, engine.hash_compute(_hash_of(alg), message))

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        _ours(key).public.verify_hash(alg, hash_value, signature)

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> None:
        _ours(key).public.verify_message(alg, message, signature)

    def asymmetric_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes, salt: bytes) -> bytes:
        own = _ours(key)
        if own.secret is not None:
            _check_label(alg, salt)
        return own.public.asymmetric_encrypt(alg, plaintext, salt)

    def asymmetric_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Secret:
        """The plaintext; INVALID_PADDING where it cannot be recovered."""
        own = _ours(key)
        scheme = self._scheme(own, Function.ASYMMETRIC_DECRYPT, alg)
        _check_label(alg, salt)
        if len(ciphertext) != width_bytes(own.attributes):
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is not as long as the key")
        try:
            return self._use(
                own, lambda tpm, handle: tpm.connection.rsa_decrypt(handle, ciphertext, bytes(scheme), salt)
            )
        except TpmError as error:
            if error.error == VALUE or (error.error == FAILURE and self._works()):
                raise PsaError(PsaStatus.INVALID_PADDING, error.detail) from error
            raise

    def _works(self) -> bool:
        """Whether the TPM is not in failure mode: libtpms answers a wrong padding as if it were."""
        try:
            self._device.run(lambda tpm: tpm.connection.random(1))
        except TpmError:
            return False
        return True

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Secret:
        own = _ours(key)
        if own.secret is None or alg != Algorithm.ECDH:
            raise _mismatch(own, alg)
        point = point_of(own.attributes, peer_key)
        shared = self._use(own, lambda tpm, handle: tpm.connection.agree(handle, point.x, point.y))
        return Secret(shared.rjust(width_bytes(own.attributes), b"\0"))

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> bytes:
        own = _ours(key)
        self._require(own, Function.MAC_COMPUTE, alg)
        return self._use(own, lambda tpm, handle: symmetric.mac(tpm, handle, alg, data))

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> None:
        if not compare_digest(self.mac_compute(key, alg, data), mac):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> bytes:
        own = _ours(key)
        self._require(own, Function.CIPHER_ENCRYPT, alg)
        return self._use(own, lambda tpm, handle: symmetric.encrypt(tpm, handle, alg, plaintext))

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Secret:
        own = _ours(key)
        self._require(own, Function.CIPHER_DECRYPT, alg)
        return self._use(own, lambda tpm, handle: symmetric.decrypt(tpm, handle, alg, ciphertext))

    def _require(self, key: TpmKey, function: Function, alg: Algorithm) -> None:
        if key.secret is None or not self.capabilities().can_use(function, replace(key.attributes, algorithm=alg)):
            raise _mismatch(key, alg)

    def _scheme(self, key: TpmKey, function: Function, alg: Algorithm) -> Scheme:
        self._require(key, function, alg)
        scheme = scheme_of(alg)
        assert scheme is not None, "the capabilities have only algorithms that a TPM has a name for"
        return scheme

    def _use(self, key: TpmKey, call: Callable[[Opened, int], _T]) -> _T:
        """Load the key and do this with its handle; DATA_CORRUPT if its attributes are not those it was made with."""
        secret = key.secret
        assert secret is not None, "whoever calls has looked"
        auth = secret.auth or authorisation(key.attributes)
        try:
            return self._device.run(lambda tpm: call(tpm, tpm.key(secret, auth)))
        except TpmError as error:
            if error.error == BAD_AUTH and error.command != MAKING_PRIMARY:
                message = "the stored key was made with other attributes: the store was changed"
                raise PsaError(PsaStatus.DATA_CORRUPT, message) from error
            raise

    # Without keys

    def hash_compute(self, alg: Hash, data: bytes) -> bytes:
        self._check_hash(alg)
        return engine.hash_compute(alg, data)

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> None:
        self._check_hash(alg)
        engine.hash_compare(alg, data, hash_value)

    def _check_hash(self, alg: Hash) -> None:
        wanted = Algorithm.from_hash(alg)
        rows = self.capabilities().rows
        if not any(Function.HASH_COMPUTE in row.functions and wanted in row.algorithms for row in rows):
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"the TPM does not have {alg!r}")

    def generate_random(self, size_bytes: int) -> Secret:
        """From the TPM, in as many commands as it takes: each gives no more than the largest digest has."""
        return self._device.run(lambda tpm: _random(tpm, size_bytes))

    # Attestation

    def prepare_key_attestation(self, attested: LoadedKey, attesting: LoadedKey | None) -> tuple[bytes, bytes, bytes]:
        """Name and TPMT_PUBLIC of the key, and the endorsement key as an RSAPublicKey (RFC 8017, appendix A.1.1)."""
        pair = _attestable(attested, attesting)
        endorsement = self._device.run(lambda tpm: tpm.endorsement(self._endorsement_auth()))
        public = endorsement_public_key(_parsed(endorsement.public))
        return pair.public.name, bytes(pair.public), public

    def attest_key(
        self, attested: LoadedKey, attesting: LoadedKey | None, *, credential_blob: bytes, secret: bytes
    ) -> Secret:
        """TPM2_ActivateCredential (Part 3, clause 12.5) with the endorsement key."""
        pair = _attestable(attested, attesting)
        auth, endorsement_auth = pair.auth or authorisation(attested.attributes), self._endorsement_auth()

        def activate(tpm: Opened) -> Secret:
            endorsement = tpm.endorsement(endorsement_auth).handle
            key = tpm.key(pair, auth)
            return tpm.connection.activate(
                tpm.primary.handle,
                key,
                endorsement,
                auth=endorsement_auth,
                credential_blob=credential_blob,
                secret=secret,
            )

        if len(credential_blob) > _MAX_CREDENTIAL_BYTES or len(secret) > _MAX_SECRET_BYTES:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the credential is longer than any TPM takes")
        try:
            return self._device.run(activate)
        except TpmError as error:
            if error.error == INTEGRITY or (error.error == FAILURE and self._works()):
                message = "the credential was not made for this key and this TPM"
                raise PsaError(PsaStatus.INVALID_ARGUMENT, message) from error
            raise

    def attestation_token(self, challenge: bytes) -> bytes:
        """A quote, as :func:`edgeroot.evidence.write_tpm_evidence` writes it."""
        check_challenge(len(challenge))
        auth = self._endorsement_auth()
        return write_tpm_evidence(self._device.run(lambda tpm: quote(tpm, auth, challenge)))

    def key_statement(self, key: LoadedKey, challenge: bytes) -> bytes:
        check_challenge(len(challenge))
        public, auth = bytes(_attestable(key, None).public), self._endorsement_auth()
        return write_tpm_evidence(
            self._use(_ours(key), lambda tpm, handle: certify(tpm, auth, challenge, handle=handle, public=public))
        )


def _random(tpm: Opened, size_bytes: int) -> Secret:
    drawn = bytearray()
    while len(drawn) < size_bytes:
        some = tpm.connection.random(min(size_bytes - len(drawn), tpm.inventory.largest_digest_bytes))
        if not some:
            raise PsaError(PsaStatus.INSUFFICIENT_ENTROPY, "the TPM gives no random bytes")
        drawn += some
    return Secret(drawn)


def _ours(key: LoadedKey) -> TpmKey:
    if not isinstance(key, TpmKey):
        raise PsaError(PsaStatus.INVALID_HANDLE, "the key was loaded by another provider")
    return key


def _attestable(attested: LoadedKey, attesting: LoadedKey | None) -> SecretReference:
    if attesting is not None:
        raise PsaError(
            PsaStatus.NOT_SUPPORTED, "only the endorsement key attests: leave the attesting key's name empty"
        )
    secret = _ours(attested).secret
    if secret is None:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "a public key is in no TPM")
    return secret


def _mismatch(key: TpmKey, alg: Algorithm) -> PsaError:
    return PsaError(
        PsaStatus.INVALID_ARGUMENT, f"a key of type {key.attributes.key_type!r} does not do this with {alg!r}"
    )


def _check_hmac_size(attributes: KeyAttributes) -> None:
    hash_alg = attributes.algorithm.hash
    if hash_alg is not None and attributes.key_bits != 8 * hash_alg.length_bytes:
        raise PsaError(PsaStatus.NOT_SUPPORTED, "a TPM makes keys for HMAC that are as long as the hash")


def _hash_of(alg: Algorithm) -> Hash:
    assert alg.hash is not None, "algorithms without a hash have no scheme"
    return alg.hash


def _check_label(alg: Algorithm, label: bytes) -> None:
    if not label:
        return
    if not alg.is_rsa_oaep:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{alg!r} has no label")
    if len(label) > _MAX_LABEL_BYTES:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"a TPM takes labels of {_MAX_LABEL_BYTES} bytes at most")
    if not label.endswith(b"\0"):
        # Part 3, clause 14.3: a TPM refuses other labels, and counts the last byte in.
        raise PsaError(PsaStatus.NOT_SUPPORTED, "a TPM takes only labels that end with a zero byte")


def _parsed(public: bytes) -> Public:
    try:
        return Public.from_bytes(public)
    except MalformedError as error:
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, "the TPM's public key is malformed") from error


def _connect(tcti: str) -> Connection:
    # The library is loaded only where a TPM is in use.
    try:
        from edgeroot.providers.tpm.native.esys import EsysConnection
    except ImportError as error:
        message = "the package tpm2-pytss is not installed, or not its libraries: pip install 'edgeroot[tpm]'"
        raise PsaError(PsaStatus.NOT_SUPPORTED, f"{message} ({error})") from error
    return EsysConnection(tcti)


def _authorisation_of(setting: Secret) -> bytes:
    source = parse_auth(setting)
    if not source.file and not source.credential:
        return source.value
    return read_authorisation(source.file, source.credential)


class TpmProviderType(ProviderType):
    """``provider_type = "Tpm"``."""

    provider_type: ClassVar[str] = "Tpm"
    default_name: ClassVar[str] = "tpm-provider"
    settings: ClassVar[type[Any]] = TpmSettings

    def __init__(self) -> None:
        self._found: dict[tuple[TpmSettings, Path], Found] = {}

    def devices(self, settings: TpmSettings) -> tuple[Path, ...]:
        device = device_of(settings.tcti)
        return () if device is None else (device,)

    def adopted(self, key_id: bytes, attributes: KeyAttributes) -> bytes:
        return bytes(upstreams_key(key_id, attributes))

    def open(self, settings: TpmSettings, *, store_path: Path) -> TpmProvider:
        lock_path = store_path.with_name(f"{store_path.name}.tpm-lock")
        return TpmProvider(
            lambda: _connect(settings.tcti),
            owner_auth=lambda: _authorisation_of(settings.owner_hierarchy_auth),
            endorsement_auth=lambda: _authorisation_of(settings.endorsement_hierarchy_auth),
            lock=DeviceLock(lock_path) if settings.has_one_connection else None,
            found=self._found.setdefault((settings, store_path), Found()),
            may_be_absent=settings.skip_if_no_tpm,
            apart=apart,
        )
