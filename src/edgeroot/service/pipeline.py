"""The pipeline: one request in, one response out, every rule of the service in between.

The steps and their order are those of the Parsec book ("Request flow" and "API overview") as upstream carries them out;
a client can tell the order from the status it gets, so it is part of the interface.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from edgeroot.auth import AuthenticationError, AuthenticationFailure, Identity, PeerCredentials
from edgeroot.keystore.records import KeyIdentity, KeyStoreError
from edgeroot.keystore.writes import Outcome, Replace, Result
from edgeroot.providers.api import Capabilities, Function, Steps
from edgeroot.psa import Algorithm, KeyAttributes, PsaError, Secret, UsageFlags
from edgeroot.psa.policy import compatible, is_deprecated
from edgeroot.service.call import Call, Door
from edgeroot.service.core import CoreProvider
from edgeroot.service.creation import KeyFactory
from edgeroot.service.effects import BodySteps, ResponseSteps, StoreWrite, carry_out, expect
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.keys import CachedKey, KeyCache
from edgeroot.service.making import NewKey, NewObject
from edgeroot.service.mounted import MountedProvider
from edgeroot.service.questions import TokenQuestion
from edgeroot.service.quotas import Limit, Quota, QuotaError, Quotas
from edgeroot.service.statuses import raise_violation
from edgeroot.service.tokens import TokenAuthenticator
from edgeroot.service.uses import KEY_USES, KEYLESS_USES, KeylessUse, KeyUse
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_operation, encode_operation, encode_result
from edgeroot.wire.framing import Request, check_request, encode_early_error, encode_response
from edgeroot.wire.opcodes import SPECS, Opcode
from edgeroot.wire.operations import AuthType, CheckType, ProviderId
from edgeroot.wire.status import ResponseStatus, WireError

_log: Final = logging.getLogger(__name__)
# Members bound to names of their own: every request asks for them, and looking them up in their classes takes longer.
_SUCCESS: Final = ResponseStatus.SUCCESS
_NO_AUTH: Final = AuthType.NO_AUTH
_CORE: Final = ProviderId.CORE
_SILENCE_NS: Final = 60_000_000_000  # between two warnings about quotas
_MAX_SHOWN_CHARS: Final = 200  # of a name, which a client may make as long as a request
_USING: Final = (
    (UsageFlags.ENCRYPT, Function.ASYMMETRIC_ENCRYPT | Function.AEAD_ENCRYPT | Function.CIPHER_ENCRYPT),
    (UsageFlags.DECRYPT, Function.ASYMMETRIC_DECRYPT | Function.AEAD_DECRYPT | Function.CIPHER_DECRYPT),
    (UsageFlags.SIGN_HASH, Function.SIGN_HASH),
    (UsageFlags.VERIFY_HASH, Function.VERIFY_HASH),
    (UsageFlags.SIGN_MESSAGE, Function.SIGN_MESSAGE | Function.MAC_COMPUTE),
    (UsageFlags.VERIFY_MESSAGE, Function.VERIFY_MESSAGE | Function.MAC_VERIFY),
)


# What the core says of the service is the same for as long as the pipeline lives. (What a provider can do is not.)
_CONSTANT: Final = frozenset({Opcode.PING, Opcode.LIST_PROVIDERS, Opcode.LIST_AUTHENTICATORS})


class ConstantResponse(bytes):
    """The response that every equal request of the same peer through the same door gets; nobody audits it."""

    __slots__ = ()


class Observer(Protocol):
    """Is told of every answered request: for the audit log and the metrics."""

    def __call__(self, call: Call, status: int, duration_ns: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says to the pipeline."""

    allow_deprecated: bool = False
    buffer_size_limit_bytes: int = 1048576
    admins: frozenset[Identity] = frozenset()
    log_error_details: bool = False


class Pipeline:
    """Answers parsed requests. One instance per process, used by one thread."""

    def __init__(
        self,
        *,
        core: CoreProvider,
        providers: Sequence[MountedProvider],
        keys: KeyCache,
        factory: KeyFactory,
        rules: Rules,
        observe: Observer,
        clock_ns: Callable[[], int],
        quotas: Quotas | None = None,
    ) -> None:
        self._core = core
        self._providers: Mapping[int, MountedProvider] = {mounted.wire_id: mounted for mounted in providers}
        self._keys = keys
        self._factory = factory
        self._rules = rules
        self._observe = observe
        self._clock_ns = clock_ns
        self._quotas = quotas
        self._warned_until_ns: dict[Limit, int] = {}

    def handle(self, request: Request, peer: PeerCredentials, door: Door) -> bytes | ResponseSteps:
        """The whole response, or the steps to it."""
        call = Call(request, peer, door, self._clock_ns())
        try:
            check_request(request)
        except WireError as error:
            # Upstream finds these before it has a request to echo, and its clients' tests look for that.
            self._log_refusal(call, error)
            self._observe(call, error.status, self._clock_ns() - call.started_ns)
            return encode_early_error(error.status)
        try:
            body = self._serve(call)
            if not isinstance(body, bytes):
                return self._continue(call, body)
            status = _SUCCESS
        except Exception as error:  # noqa: BLE001 - the guard of each request: whatever happens, the client is answered
            body, status = b"", self._status_of(call, error)
        response = self._answer(call, status, body)
        if request.opcode in _CONSTANT and status is _SUCCESS and _is_timeless(call):
            return ConstantResponse(response)
        return response

    def _continue(self, call: Call, steps: BodySteps) -> ResponseSteps:
        try:
            body = yield from steps
            status = _SUCCESS
        except Exception as error:  # noqa: BLE001 - the guard of each request: whatever happens, the client is answered
            body, status = b"", self._status_of(call, error)
        return self._answer(call, status, body)

    def _answer(self, call: Call, status: ResponseStatus, body: bytes) -> bytes:
        request = call.request
        self._observe(call, status, self._clock_ns() - call.started_ns)
        return encode_response(
            provider=request.provider, session=request.session, opcode=request.opcode, status=status, body=body
        )

    def _status_of(self, call: Call, error: Exception) -> ResponseStatus:
        if isinstance(error, WireError):
            if isinstance(error, QuotaError):
                self._note_excess(call, error)
            self._log_refusal(call, error)
            return error.status
        if isinstance(error, PsaError):
            self._log_refusal(call, error)
            return ResponseStatus.from_psa(error.status)
        if isinstance(error, KeyStoreError):
            _log.error("the key store failed: %s", error)
            return ResponseStatus.KEY_INFO_MANAGER_ERROR
        fault = error if self._rules.log_error_details else _withheld(error)
        _log.error("a fault in the service itself; please report it", exc_info=fault)
        return ResponseStatus.PSA_ERROR_GENERIC_ERROR

    def _note_excess(self, call: Call, error: QuotaError) -> None:
        """For the audit log and the metrics each time, in the log now and then: whoever asks too often fills none."""
        call.beyond = error.limit
        now_ns = self._clock_ns()
        if now_ns >= self._warned_until_ns.get(error.limit, now_ns):
            self._warned_until_ns[error.limit] = now_ns + _SILENCE_NS
            _log.warning("an application goes beyond its quota (%s); the audit log names it", error.limit.value)

    def _log_refusal(self, call: Call, error: WireError | PsaError) -> None:
        """Only if the configuration wants it: names of keys and applications are told to the audit log alone."""
        if not self._rules.log_error_details:
            return
        _log.info(
            "refused: opcode %#x, application %s, key %s: %s",
            call.request.opcode,
            "-" if call.identity is None else _shown(call.identity.application),
            "-" if call.key_name is None else _shown(call.key_name),
            error,
        )

    def _serve(self, call: Call) -> bytes | BodySteps:
        request = call.request
        # The numbers follow the order that clients can observe; 1 to 6 are the framing's, 7 is check_request's.
        if request.auth_type != _NO_AUTH:
            found = self._authenticate(call)  # 8.
            if isinstance(found, TokenQuestion):
                return self._serve_when_known(call, found)
            call.identity = found
        return self._serve_known(call)

    def _serve_when_known(self, call: Call, question: TokenQuestion) -> BodySteps:
        authenticator = call.door.authenticators[call.request.auth_type]
        assert isinstance(authenticator, TokenAuthenticator)  # nobody else has questions
        call.identity = yield from authenticator.ask(question)
        body = self._serve_known(call)
        return body if isinstance(body, bytes) else (yield from body)

    def _serve_known(self, call: Call) -> bytes | BodySteps:
        request = call.request
        opcode = request.opcode
        if self._quotas is not None and call.identity is not None:
            call.quota = self._quotas.admit(call.identity)
        is_core = request.provider == _CORE
        if not is_core:
            call.provider = self._providers.get(request.provider)
            if call.provider is None:  # 9.
                raise WireError(ResponseStatus.PROVIDER_NOT_REGISTERED)
        spec = SPECS[opcode]
        if spec.core != is_core:  # 10.
            raise WireError(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)
        if spec.admin and call.require_identity() not in self._rules.admins:  # 11.
            raise WireError(ResponseStatus.ADMIN_OPERATION)
        operation = decode_operation(opcode, request.body)  # 12.
        if spec.needs_identity and call.identity is None:  # 13.
            raise WireError(ResponseStatus.NOT_AUTHENTICATED)
        if is_core:  # 14.
            return self._core.handle(call, operation)
        use = KEY_USES.get(opcode)
        if use is not None:
            return self._use_key(call, use, operation)
        keyless = KEYLESS_USES.get(opcode)
        if keyless is not None:
            return self._use_no_key(call, keyless, operation)
        return self._manage(call, operation)

    def _authenticate(self, call: Call) -> Identity | TokenQuestion:
        authenticator = call.door.authenticators.get(call.request.auth_type)
        if authenticator is None:
            raise WireError(ResponseStatus.AUTHENTICATOR_NOT_REGISTERED)
        try:
            return authenticator.authenticate(call.request.auth, call.peer)
        except AuthenticationError as error:
            if error.kind is AuthenticationFailure.INVALID_ENCODING:
                raise WireError(ResponseStatus.INVALID_ENCODING, str(error)) from error
            raise WireError(ResponseStatus.AUTHENTICATION_ERROR, str(error)) from error

    def _use_key(self, call: Call, use: KeyUse, operation: ops.Operation) -> bytes | BodySteps:
        mounted = _offering(call, use.function)
        owner = mounted.objects_name if use.of_object else mounted.name
        key = self._keys.find(_identity_of(call, owner, use.named(operation)), mounted.store)
        if call.quota is not None:
            _check_quota(call.quota, key, use, operation)
        if use.has_algorithm:
            key.require(use.usage, operation.alg)  # type: ignore[attr-defined] # has_algorithm says so
        elif use.usage and not (key.attributes.usage & use.usage or key.attributes.key_type.is_public_key):
            # A public key may be exported whatever its policy says (PSA Crypto API, PSA_KEY_USAGE_EXPORT).
            raise WireError(ResponseStatus.PSA_ERROR_NOT_PERMITTED)
        if use.check is not None:
            violation = use.check(operation)
            if violation is not None:
                raise_violation(violation)
        if mounted.stepped is not None:
            return self._use_in_steps(mounted, use, key=key, operation=operation)
        provider = mounted.provider
        operation, body = _bound(call, use, operation)
        if mounted.remote or provider.is_slow(use.function, key.attributes, len(body)):
            return self._use_elsewhere(call, mounted, key, body)
        loaded = key.loaded(provider)
        result = encode_result(use.result(use.call(provider, loaded, operation)))
        return result if loaded.replacement is None else self._replace(mounted, key, loaded.replacement, result)

    def _use_in_steps(
        self, mounted: MountedProvider, use: KeyUse, *, key: CachedKey, operation: ops.Operation
    ) -> BodySteps:
        stepped = mounted.stepped
        assert stepped is not None
        loaded = key.loaded(stepped)
        value = yield from carry_out(use.call(stepped, loaded, operation))
        body = encode_result(use.result(value))
        if loaded.replacement is not None:
            return (yield from self._replace(mounted, key, loaded.replacement, body))
        return body

    def _use_elsewhere(self, call: Call, mounted: MountedProvider, key: CachedKey, body: bytes) -> BodySteps:
        job = Job(mounted.index, call.request.opcode, body, key.reference, bytes(key.attributes))
        outcome = expect(JobOutcome, (yield job))
        outcome.raise_for_status()
        if outcome.replacement:
            return (yield from self._replace(mounted, key, outcome.replacement, outcome.body))
        return outcome.body

    def _replace(self, mounted: MountedProvider, key: CachedKey, replacement: bytes, body: bytes) -> BodySteps:
        """Keep the reference that a provider handed back, and then answer what it did.

        If that cannot be kept, the old one is still the key's: the provider hands the new one back again next time.
        """
        outcome = expect(Outcome, (yield StoreWrite(mounted.store, Replace(key.identity, key.reference, replacement))))
        if outcome.result not in (Result.DONE, Result.CONFLICT):
            _log.warning("a key's new reference could not be stored: %s", outcome.detail or outcome.result.name)
        return body

    def _use_no_key(self, call: Call, use: KeylessUse, operation: ops.Operation) -> bytes | BodySteps:
        mounted = _offering(call, use.function)
        input_bytes = len(call.request.body)
        if isinstance(operation, ops.PsaGenerateRandom):
            if operation.size > self._rules.buffer_size_limit_bytes:
                raise WireError(ResponseStatus.RESPONSE_TOO_LARGE)
            input_bytes = operation.size
        if mounted.stepped is not None:
            return self._use_no_key_in_steps(use.call(mounted.stepped, operation), use)
        operation, body = _bound(call, use, operation)
        if mounted.remote or mounted.provider.is_slow(use.function, None, input_bytes):
            return self._use_no_key_elsewhere(call, mounted, body)
        return encode_result(use.result(use.call(mounted.provider, operation)))

    def _use_no_key_in_steps(self, steps: Steps[Any], use: KeylessUse) -> BodySteps:
        return encode_result(use.result((yield from carry_out(steps))))

    def _use_no_key_elsewhere(self, call: Call, mounted: MountedProvider, body: bytes) -> BodySteps:
        outcome = expect(JobOutcome, (yield Job(mounted.index, call.request.opcode, body)))
        outcome.raise_for_status()
        return outcome.body

    def _manage(self, call: Call, operation: ops.Operation) -> bytes | BodySteps:
        match operation:
            case ops.PsaGenerateKey(key_name=key_name, attributes=attributes):
                if not self._rules.allow_deprecated and is_deprecated(attributes):
                    raise WireError(ResponseStatus.DEPRECATED_PRIMITIVE)
                return self._create(call, key_name, attributes, Function.GENERATE_KEY, None)
            case ops.PsaImportKey(key_name=key_name, attributes=attributes, data=data):
                if is_deprecated(attributes):
                    _log.warning("importing a key for a deprecated primitive: %r", attributes.key_type)
                return self._create(call, key_name, attributes, Function.IMPORT_KEY, Secret(data))
            case ops.PsaDestroyKey(key_name=key_name):
                return self._destroy(call, key_name)
            case ops.StorageSet(object_name=name, data=data, create_flags=flags):
                job = Job(call.require_provider().index, call.request.opcode, call.request.body)
                max_keys = 0 if call.quota is None else call.quota.max_keys
                return self._set_object(call, name, NewObject(Secret(data), flags, job, max_keys))
            case ops.StorageRemove(object_name=name):
                return self._remove_object(call, name)
            case ops.CanDoCrypto(check_type=check_type, attributes=attributes):
                _require_crypto(call.require_provider().provider.capabilities(), check_type, attributes)
                return b""
        raise WireError(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)

    def _create(
        self, call: Call, key_name: str, attributes: KeyAttributes, function: Function, material: Secret | None
    ) -> BodySteps:
        mounted = _offering(call, function)
        identity = _identity_of(call, mounted.name, key_name)
        max_keys = 0
        if call.quota is not None:
            call.quota.check_new_key(attributes)
            max_keys = call.quota.max_keys
        elsewhere = mounted.stepped is None and (
            mounted.remote or mounted.provider.is_slow(function, attributes, len(call.request.body))
        )
        if not (elsewhere or mounted.provider.keeps_keys):
            return self._create_here(mounted, identity, NewKey(attributes, material, None, max_keys))
        # A look before much work; the writer has the last word.
        if self._keys.exists(identity, mounted.store):
            raise WireError(ResponseStatus.PSA_ERROR_ALREADY_EXISTS)
        job = Job(mounted.index, call.request.opcode, call.request.body) if elsewhere else None
        return self._factory.create(mounted, identity, NewKey(attributes, material, job, max_keys))

    def _create_here(self, mounted: MountedProvider, identity: KeyIdentity, new: NewKey) -> BodySteps:
        # To look first would cost more than to make the key; but a name that is taken comes before any other fault.
        try:
            return (yield from self._factory.create(mounted, identity, new))
        except PsaError:
            if self._keys.exists(identity, mounted.store):
                raise WireError(ResponseStatus.PSA_ERROR_ALREADY_EXISTS) from None
            raise

    def _destroy(self, call: Call, key_name: str) -> BodySteps:
        mounted = call.require_provider()
        identity = _identity_of(call, mounted.name, key_name)

        def find() -> bytes:
            reference = self._keys.find(identity, mounted.store).reference
            self._keys.forget(identity)
            return reference

        return self._factory.destroy(mounted, identity, find)

    def _set_object(self, call: Call, name: str, new: NewObject) -> BodySteps:
        mounted = _offering(call, Function.PS_SET)
        identity = _identity_of(call, mounted.objects_name, name)
        while (before := self._object_reference(identity, mounted)) is not None:
            yield from new.make(mounted, before)
            if self._object_reference(identity, mounted) == before:
                return b""
            # It was removed in the meantime, and perhaps first: then this has made it anew, and nobody knows its place.
            yield from self._factory.destroy_in_back_end(mounted, before)
        return (yield from self._factory.create_in_back_end(mounted, identity, new))

    def _remove_object(self, call: Call, name: str) -> BodySteps:
        mounted = _offering(call, Function.PS_REMOVE)
        identity = _identity_of(call, mounted.objects_name, name)
        self._keys.forget(identity)
        return self._factory.destroy_kept(mounted, identity)

    def _object_reference(self, identity: KeyIdentity, mounted: MountedProvider) -> bytes | None:
        try:
            return self._keys.find(identity, mounted.store).reference
        except WireError as error:
            if error.status is ResponseStatus.PSA_ERROR_DOES_NOT_EXIST:
                return None
            raise


def _is_timeless(call: Call) -> bool:
    """Whether whoever asks is found out without anything that may change."""
    return call.identity is None or call.door.authenticators[call.request.auth_type].is_timeless


def _identity_of(call: Call, provider: str, key_name: str) -> KeyIdentity:
    """The key or object that the caller means; from here on the call is about it, also in the audit log."""
    call.key_name = key_name
    application = call.require_identity()
    return KeyIdentity(application.authenticator, application.application, provider, key_name)


def _bound(call: Call, use: KeyUse | KeylessUse, operation: ops.Operation) -> tuple[ops.Operation, bytes]:
    """The operation and its body as the provider gets them: where evidence has to name its caller, with him in it.

    Whoever carries a job out does not learn identities, so this is done here.
    """
    if use.bind is None or not call.require_provider().provider.binds_callers:
        return operation, call.request.body
    operation = use.bind(operation, call.require_identity())
    return operation, encode_operation(operation)


def _check_quota(quota: Quota, key: CachedKey, use: KeyUse, operation: ops.Operation) -> None:
    if use.has_algorithm:
        quota.check_use(use.usage, getattr(operation, "alg", None))
    elif not key.attributes.key_type.is_public_key:  # which may be exported whatever its policy says
        quota.check_use(use.usage, None)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _MAX_SHOWN_CHARS else f"{name[:_MAX_SHOWN_CHARS]}…")


def _offering(call: Call, function: Function) -> MountedProvider:
    mounted = call.require_provider()
    if not mounted.offers(function):
        raise WireError(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)
    return mounted


class _WithheldError(Exception):
    """Stands in the log for an exception whose message may name a key or an application."""


def _withheld(error: Exception) -> _WithheldError:
    """Where it happened and what kind of exception it was."""
    message = f"{type(error).__name__}, whose message log_error_details would show"
    return _WithheldError(message).with_traceback(error.__traceback__)


def _require_crypto(capabilities: Capabilities, check_type: CheckType, attributes: KeyAttributes) -> None:
    """CanDoCrypto: returns if it can be done, raises PsaErrorNotSupported for every kind of no."""

    def held(function: Function) -> bool:
        return capabilities.can_hold(function, attributes.key_type, attributes.key_bits)

    if check_type is CheckType.USE:
        supported = _can_use(capabilities, attributes)
    elif check_type is CheckType.GENERATE:
        supported = held(Function.GENERATE_KEY) and _usable_if_asked(capabilities, attributes)
    elif check_type is CheckType.IMPORT:
        supported = held(Function.IMPORT_KEY) and _usable_if_asked(capabilities, attributes)
    else:
        supported = False  # the contract has no operation that derives a key
    if not supported:
        raise WireError(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)


def _usable_if_asked(capabilities: Capabilities, attributes: KeyAttributes) -> bool:
    return attributes.algorithm == Algorithm.NONE or _can_use(capabilities, attributes)


def _can_use(capabilities: Capabilities, attributes: KeyAttributes) -> bool:
    if attributes.algorithm == Algorithm.NONE or not compatible(attributes.key_type, attributes.algorithm):
        return False
    functions = Function(0)
    for usage, serving in _USING:
        if attributes.usage & usage:
            functions |= serving
    if functions and attributes.usage & UsageFlags.DERIVE:  # upstream says no to a key that may derive and nothing else
        functions |= Function.RAW_KEY_AGREEMENT
    return capabilities.can_use(functions, attributes)
