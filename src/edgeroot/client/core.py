"""The client without IO: what to ask, as whom, of which provider, and what to do when a connection breaks.

Every call is a generator, a :data:`Flow`: it yields the requests to be transmitted, is sent the responses (or has
:class:`~edgeroot.client.transport.TransmissionFailedError` thrown in), and returns the call's result. The synchronous
and the asynchronous client drive the same flows, and add nothing but the waiting.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from edgeroot.client.auth import Credentials, NoAuth, choose
from edgeroot.client.errors import (
    AuthenticatorNotRegisteredError,
    DoesNotExistError,
    InvalidRequestError,
    NoProviderError,
    NotSupportedError,
    OutcomeUnknownError,
    ProviderNotRegisteredError,
    ServiceError,
    ServiceTimeoutError,
    TransportError,
    UnexpectedResponseError,
)
from edgeroot.client.transport import Transmission, TransmissionFailedError
from edgeroot.psa import Algorithm, Hash, KeyAttributes, Secret
from edgeroot.wire import operations as ops
from edgeroot.wire.framing import decode_response, encode_request
from edgeroot.wire.header import FLAG_EXTENDED, FLAG_KEEP
from edgeroot.wire.opcodes import BY_OPERATION, OperationSpec
from edgeroot.wire.operations import CheckType, ProviderId
from edgeroot.wire.status import ResponseStatus, WireError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

T = TypeVar("T")
R = TypeVar("R", bound=ops.Result)
Flow: TypeAlias = Generator[Transmission, bytes, T]

_CREATES_OR_DESTROYS: Final = (
    ops.PsaGenerateKey,
    ops.PsaImportKey,
    ops.PsaDestroyKey,
    ops.DeleteClient,
    ops.StorageSet,
    ops.StorageRemove,
)


@dataclass(slots=True)
class Session:
    """What was found out about the service, shared by a client and its views of other providers."""

    app_name: str | None
    credentials: Credentials | None  # None until discovered
    credentials_given: bool
    keep_connection: bool
    first_provider: int | None = None


class Core:
    """The flows of one client. ``provider`` is an id, a UUID or a name; None stands for the service's first."""

    def __init__(
        self,
        *,
        app_name: str | None = None,
        provider: int | str | None = None,
        auth: Credentials | None = None,
        keep_connection: bool = True,
        session: Session | None = None,
    ) -> None:
        if isinstance(provider, int) and not 0 < provider <= 255:
            raise NoProviderError(f"no provider for cryptography has the id {provider}: ids go from 1 to 255")
        self._session = session or Session(app_name, auth, auth is not None, keep_connection)
        self._wanted = provider
        self._provider = provider if isinstance(provider, int) else None

    def view(self, provider: int | str) -> Core:
        """The same client for another provider."""
        return Core(provider=provider, session=self._session)

    # What the service is and has

    def ping(self) -> Flow[tuple[int, int]]:
        """The wire protocol version that the service speaks, (major, minor)."""
        result = yield from self._ask(ops.Ping(), ops.PingResult)
        return result.wire_protocol_version_maj, result.wire_protocol_version_min

    def list_providers(self) -> Flow[tuple[ops.ProviderInfo, ...]]:
        """The service's providers in the order of its preference; the core provider comes last."""
        result = yield from self._ask(ops.ListProviders(), ops.ListProvidersResult)
        return result.providers

    def list_opcodes(self, provider: int | None = None) -> Flow[frozenset[int]]:
        """The numbers of the operations that a provider offers; of this client's provider if none is named."""
        if provider is None:
            provider = yield from self.provider_id()
        result = yield from self._ask(ops.ListOpcodes(provider), ops.ListOpcodesResult)
        return frozenset(result.opcodes)

    def list_authenticators(self) -> Flow[tuple[ops.AuthenticatorInfo, ...]]:
        result = yield from self._ask(ops.ListAuthenticators(), ops.ListAuthenticatorsResult)
        return result.authenticators

    def list_keys(self) -> Flow[tuple[ops.KeyInfo, ...]]:
        """This application's keys in all providers."""
        result = yield from self._ask(ops.ListKeys(), ops.ListKeysResult)
        return result.keys

    def list_clients(self) -> Flow[tuple[str, ...]]:
        """The applications that have keys; for admins."""
        result = yield from self._ask(ops.ListClients(), ops.ListClientsResult)
        return result.clients

    def delete_client(self, client: str) -> Flow[None]:
        """Destroy all keys of an application; for admins. To delete one that has none is no error."""
        yield from self._ask(ops.DeleteClient(client), ops.Empty)

    def provider_id(self) -> Flow[int]:
        """The id of the provider that this client uses: the one asked for, else the service's first."""
        if self._provider is not None:
            return self._provider
        if self._wanted is None and self._session.first_provider is not None:
            return self._session.first_provider
        providers = yield from self.list_providers()
        found = self._choose(providers)
        if self._wanted is None:
            self._session.first_provider = found
        else:
            self._provider = found
        return found

    # Keys

    def generate_key(self, key_name: str, attributes: KeyAttributes) -> Flow[None]:
        """Make a new key in the provider; AlreadyExistsError if the application has one of this name."""
        yield from self._ask(ops.PsaGenerateKey(key_name, attributes), ops.Empty)

    def import_key(self, key_name: str, attributes: KeyAttributes, data: bytes) -> Flow[None]:
        """Store a key made elsewhere, in PSA's formats: RSA as PKCS#1 DER, an EC pair as its private scalar, an EC
        public key as an uncompressed point, anything else raw. ``attributes.key_bits`` 0 lets the service infer it.
        """
        yield from self._ask(ops.PsaImportKey(key_name, attributes, data), ops.Empty)

    def destroy_key(self, key_name: str) -> Flow[None]:
        yield from self._ask(ops.PsaDestroyKey(key_name), ops.Empty)

    def export_key(self, key_name: str) -> Flow[Secret]:
        """The key itself in the format of :meth:`import_key`; the key's usage must include EXPORT."""
        result = yield from self._ask(ops.PsaExportKey(key_name), ops.PsaExportKeyResult)
        return Secret(result.data)

    def export_public_key(self, key_name: str) -> Flow[bytes]:
        """The public part: RSA as PKCS#1 DER, EC as an uncompressed point, Montgomery curves raw."""
        result = yield from self._ask(ops.PsaExportPublicKey(key_name), ops.PsaExportPublicKeyResult)
        return result.data

    def key_attributes(self, key_name: str, provider: int | None = None) -> Flow[KeyAttributes]:
        """The attributes of one key, in this client's provider if none is named; DoesNotExistError."""
        if provider is None:
            provider = yield from self.provider_id()
        for key in (yield from self.list_keys()):
            if key.name == key_name and key.provider_id == provider:
                return key.attributes
        raise DoesNotExistError(ResponseStatus.PSA_ERROR_DOES_NOT_EXIST, f"key_attributes of {key_name!r}")

    def public_key(self, key_name: str) -> Flow[PublicKeyTypes]:
        """The public part as a key object of the package ``cryptography``."""
        from edgeroot.client.keys.public import load_public_key

        attributes = yield from self.key_attributes(key_name)
        return load_public_key(attributes, (yield from self.export_public_key(key_name)))

    # Signatures

    def sign_hash(self, key_name: str, alg: Algorithm, hash_value: bytes) -> Flow[bytes]:
        """The signature of a hash made by the caller; ECDSA's is r || s, both of the curve's length."""
        result = yield from self._ask(ops.PsaSignHash(key_name, alg, hash_value), ops.PsaSignHashResult)
        return result.signature

    def verify_hash(self, key_name: str, alg: Algorithm, hash_value: bytes, signature: bytes) -> Flow[None]:
        """Returns if the signature is right; InvalidSignatureError if not."""
        yield from self._ask(ops.PsaVerifyHash(key_name, alg, hash_value, signature), ops.Empty)

    def sign_message(self, key_name: str, alg: Algorithm, message: bytes) -> Flow[bytes]:
        result = yield from self._ask(ops.PsaSignMessage(key_name, alg, message), ops.PsaSignMessageResult)
        return result.signature

    def verify_message(self, key_name: str, alg: Algorithm, message: bytes, signature: bytes) -> Flow[None]:
        """Returns if the signature is right; InvalidSignatureError if not."""
        yield from self._ask(ops.PsaVerifyMessage(key_name, alg, message, signature), ops.Empty)

    # Encryption

    def asymmetric_encrypt(self, key_name: str, alg: Algorithm, plaintext: bytes, salt: bytes = b"") -> Flow[bytes]:
        """``salt`` is OAEP's label."""
        operation = ops.PsaAsymmetricEncrypt(key_name, alg, plaintext, salt)
        return (yield from self._ask(operation, ops.PsaAsymmetricEncryptResult)).ciphertext

    def asymmetric_decrypt(self, key_name: str, alg: Algorithm, ciphertext: bytes, salt: bytes = b"") -> Flow[Secret]:
        """``salt`` is OAEP's label."""
        operation = ops.PsaAsymmetricDecrypt(key_name, alg, ciphertext, salt)
        return Secret((yield from self._ask(operation, ops.PsaAsymmetricDecryptResult)).plaintext)

    def aead_encrypt(
        self, key_name: str, alg: Algorithm, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> Flow[bytes]:
        """The ciphertext with the tag at its end. A nonce must never serve twice with one key."""
        operation = ops.PsaAeadEncrypt(key_name, alg, nonce, additional_data, plaintext)
        return (yield from self._ask(operation, ops.PsaAeadEncryptResult)).ciphertext

    def aead_decrypt(
        self, key_name: str, alg: Algorithm, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Flow[Secret]:
        """The plaintext; InvalidSignatureError if anything was changed."""
        operation = ops.PsaAeadDecrypt(key_name, alg, nonce, additional_data, ciphertext)
        return Secret((yield from self._ask(operation, ops.PsaAeadDecryptResult)).plaintext)

    def cipher_encrypt(self, key_name: str, alg: Algorithm, plaintext: bytes) -> Flow[bytes]:
        """The IV, which the service chooses, and the ciphertext behind it."""
        operation = ops.PsaCipherEncrypt(key_name, alg, plaintext)
        return (yield from self._ask(operation, ops.PsaCipherEncryptResult)).ciphertext

    def cipher_decrypt(self, key_name: str, alg: Algorithm, ciphertext: bytes) -> Flow[Secret]:
        operation = ops.PsaCipherDecrypt(key_name, alg, ciphertext)
        return Secret((yield from self._ask(operation, ops.PsaCipherDecryptResult)).plaintext)

    # MAC, hash, agreement, random

    def mac_compute(self, key_name: str, alg: Algorithm, data: bytes) -> Flow[bytes]:
        return (yield from self._ask(ops.PsaMacCompute(key_name, alg, data), ops.PsaMacComputeResult)).mac

    def mac_verify(self, key_name: str, alg: Algorithm, data: bytes, mac: bytes) -> Flow[None]:
        """Returns if the MAC is right; InvalidSignatureError if not."""
        yield from self._ask(ops.PsaMacVerify(key_name, alg, data, mac), ops.Empty)

    def hash_compute(self, alg: Hash, data: bytes) -> Flow[bytes]:
        return (yield from self._ask(ops.PsaHashCompute(alg, data), ops.PsaHashComputeResult)).hash_value

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> Flow[None]:
        """Returns if the hash is right; InvalidSignatureError if not."""
        yield from self._ask(ops.PsaHashCompare(alg, data, hash_value), ops.Empty)

    def raw_key_agreement(self, alg: Algorithm, private_key_name: str, peer_key: bytes) -> Flow[Secret]:
        """The shared secret as it is, an x-coordinate for ECDH: derive keys from it before use."""
        operation = ops.PsaRawKeyAgreement(alg, private_key_name, peer_key)
        return Secret((yield from self._ask(operation, ops.PsaRawKeyAgreementResult)).shared_secret)

    def generate_random(self, size_bytes: int) -> Flow[Secret]:
        """Random bytes; a TPM provider may give fewer than asked."""
        result = yield from self._ask(ops.PsaGenerateRandom(size_bytes), ops.PsaGenerateRandomResult)
        return Secret(result.random_bytes)

    def can_do_crypto(self, check_type: CheckType, attributes: KeyAttributes) -> Flow[bool]:
        """Whether the provider could use, generate or import such a key."""
        try:
            yield from self._ask(ops.CanDoCrypto(check_type, attributes), ops.Empty)
        except NotSupportedError as error:
            if error.status != ResponseStatus.PSA_ERROR_NOT_SUPPORTED:
                raise
            return False
        return True

    # Attestation

    def prepare_key_attestation(
        self, attested_key_name: str, attesting_key_name: str = ""
    ) -> Flow[ops.PrepareKeyAttestationResult]:
        """What a verifier needs to make a credential; an empty attesting name is the TPM's endorsement key."""
        operation = ops.PrepareKeyAttestation(attested_key_name, attesting_key_name)
        return (yield from self._ask(operation, ops.PrepareKeyAttestationResult))

    def attest_key(
        self, attested_key_name: str, credential_blob: bytes, secret: bytes, attesting_key_name: str = ""
    ) -> Flow[Secret]:
        """The credential that only the TPM which holds the key can have unwrapped."""
        operation = ops.AttestKey(attested_key_name, attesting_key_name, credential_blob, secret)
        return Secret((yield from self._ask(operation, ops.AttestKeyResult)).credential)

    # Protected storage and the device's attestation, which this service has beyond Parsec's contract

    def storage_set(self, object_name: str, data: bytes, *, write_once: bool = False) -> Flow[None]:
        """Keep a secret in protected storage; what the object held before is replaced in one step.

        A write-once object can never be changed or removed.
        """
        yield from self._ask(ops.StorageSet(object_name, data, int(write_once)), ops.Empty)

    def storage_get(self, object_name: str, offset: int = 0, size: int = 0) -> Flow[Secret]:
        """At most ``size`` bytes from ``offset``; 0 stands for all that there are."""
        result = yield from self._ask(ops.StorageGet(object_name, offset, size), ops.StorageGetResult)
        return Secret(result.data)

    def storage_info(self, object_name: str) -> Flow[ops.StorageInfoResult]:
        """Capacity and size in bytes, and the flags of psa_storage_create_flags_t."""
        return (yield from self._ask(ops.StorageInfo(object_name), ops.StorageInfoResult))

    def storage_remove(self, object_name: str) -> Flow[None]:
        yield from self._ask(ops.StorageRemove(object_name), ops.Empty)

    def storage_list(self) -> Flow[tuple[ops.StoredObject, ...]]:
        """This application's objects in all providers."""
        return (yield from self._ask(ops.StorageList(), ops.StorageListResult)).objects

    def attestation_token(self, challenge: bytes) -> Flow[bytes]:
        """A token with the verifier's challenge of 32, 48 or 64 bytes, signed by the device.

        It is a COSE_Sign1 (RFC 9783), or a TPM's quote, as :func:`edgeroot.evidence.read_tpm_evidence` reads it.
        """
        return (yield from self._ask(ops.AttestationToken(challenge), ops.AttestationTokenResult)).token

    def key_statement(self, key_name: str, challenge: bytes) -> Flow[bytes]:
        """What the device says of a key, and signs, with the verifier's challenge of 32, 48 or 64 bytes.

        :func:`edgeroot.evidence.read_key_statement` reads it, or :func:`edgeroot.evidence.read_tpm_evidence` if it is a
        TPM's. Keys that are nowhere but in software or in a PKCS#11 token have none: PsaErrorNotSupported.
        """
        return (yield from self._ask(ops.KeyStatement(key_name, challenge), ops.KeyStatementResult)).statement

    # How a request is made, sent and answered

    def _ask(self, operation: ops.Operation, result_type: type[R]) -> Flow[R]:
        from edgeroot.wire.codec import decode_result

        spec = BY_OPERATION[type(operation)]
        provider = ProviderId.CORE if spec.core else (yield from self.provider_id())
        credentials: Credentials = (yield from self._credentials()) if spec.needs_identity else NoAuth()
        name = type(operation).__name__
        try:
            auth = credentials.field()
            response = decode_response((yield from self._transmit(operation, spec, provider, (credentials, auth))))
            # Whoever is not believed has had nothing done, so a newer proof may be tried whatever the operation.
            if response.status == ResponseStatus.AUTHENTICATION_ERROR and credentials.renewed(auth):
                auth = credentials.field()
                response = decode_response((yield from self._transmit(operation, spec, provider, (credentials, auth))))
            if response.status:
                raise ServiceError.of(response.status, name)
            if response.opcode != spec.opcode:
                raise UnexpectedResponseError(
                    f"{name} was answered as operation {response.opcode:#x}: not this protocol"
                )
            result = decode_result(spec.opcode, response.body)
        except WireError as error:
            raise UnexpectedResponseError(
                f"the answer to {name} cannot be understood ({error}): the service may be newer than this client"
            ) from error
        except ProviderNotRegisteredError:
            self._forget_provider()  # the service was configured anew: look again next time
            raise
        except AuthenticatorNotRegisteredError:
            if not self._session.credentials_given:
                self._session.credentials = None
            raise
        if not isinstance(result, result_type):
            raise TypeError(f"{name} is decoded as {type(result).__name__}, not {result_type.__name__}")
        return result

    def _transmit(
        self, operation: ops.Operation, spec: OperationSpec, provider: int, proof: tuple[Credentials, bytes]
    ) -> Flow[bytes]:
        keep = self._session.keep_connection
        frame = _frame(operation, spec, provider, proof, FLAG_EXTENDED | (FLAG_KEEP if keep else 0))
        repeatable = not isinstance(operation, _CREATES_OR_DESTROYS)
        try:
            return (yield Transmission(frame, keep, repeatable))
        except TransmissionFailedError as failure:
            # A kept connection that ended says nothing about the request, if the service cannot have had all of it or
            # may have it twice.
            if failure.timed_out or not failure.reused or (failure.complete and not repeatable):
                raise _failed(failure, spec, repeatable=repeatable) from failure
        try:
            return (yield Transmission(frame, keep, repeatable, fresh=True))
        except TransmissionFailedError as failure:
            raise _failed(failure, spec, repeatable=repeatable) from failure

    def _credentials(self) -> Flow[Credentials]:
        if self._session.credentials is None:
            listed = yield from self.list_authenticators()
            self._session.credentials = choose(listed, self._session.app_name)
        return self._session.credentials

    def _forget_provider(self) -> None:
        self._session.first_provider = None
        self._provider = self._wanted if isinstance(self._wanted, int) else None

    def _choose(self, providers: tuple[ops.ProviderInfo, ...]) -> int:
        if self._wanted is None:
            if providers and providers[0].id != ProviderId.CORE:
                return providers[0].id
            raise NoProviderError("the service offers no provider for cryptography: configure one there")
        wanted = str(self._wanted).lower()
        for provider in providers:
            if wanted in (provider.uuid.lower(), provider.name.lower()):
                return provider.id
        known = ", ".join(f"{p.id} {p.name or p.description!r} {p.uuid}" for p in providers)
        raise NoProviderError(f"the service has no provider {self._wanted!r}: choose one of {known}")


def _frame(
    operation: ops.Operation, spec: OperationSpec, provider: int, proof: tuple[Credentials, bytes], flags: int
) -> bytes:
    from edgeroot.wire.codec import encode_operation

    try:
        body = encode_operation(operation)
        credentials, auth = proof
        return encode_request(
            opcode=spec.opcode, provider=provider, body=body, auth_type=credentials.auth_type, auth=auth, flags=flags
        )
    except (WireError, ValueError) as error:
        name = type(operation).__name__
        raise InvalidRequestError(f"{name} cannot be written down as asked: {error}; check the arguments") from error


def _failed(failure: TransmissionFailedError, spec: OperationSpec, *, repeatable: bool) -> TransportError:
    name = spec.operation.__name__
    if failure.complete and not repeatable:
        return OutcomeUnknownError(
            f"{name} was sent, but no answer came ({failure}): whether it was done is unknown, see list_keys() "
            "or storage_list()"
        )
    if failure.timed_out:
        return ServiceTimeoutError(
            f"{name} was not answered in time: see whether the service is overloaded, or raise timeout_s"
        )
    return TransportError(f"{name} was not answered ({failure}): see the service's log, then try again")
