"""The contract between the service and a back end of keys.

A provider sees attributes, opaque references and data. It knows no key name, no application and no protocol; whoever
calls it has already resolved the name and checked the key's policy (:mod:`edgeroot.psa.policy`). Every failure is one
:class:`~edgeroot.psa.PsaError`. A provider is used by one thread at a time; several processes may each have their own
instance over the same settings.

A *reference* says where a key is. Where it is a blob that the service stores (software, TPM), :meth:`Provider.plan`
answers None and creating the key is one write of the store. Where the back end keeps the key itself, ``plan`` names the
place first; the service records it before :meth:`Provider.create` acts, so that a crash leaves nothing behind that
nobody knows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field, fields
from enum import Flag, auto
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias, TypeVar

from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags


class Function(Flag):
    """What a provider can be asked for; the names are those of the functions of PSA's APIs."""

    GENERATE_KEY = auto()
    IMPORT_KEY = auto()
    DESTROY_KEY = auto()
    EXPORT_KEY = auto()
    EXPORT_PUBLIC_KEY = auto()
    SIGN_HASH = auto()
    VERIFY_HASH = auto()
    SIGN_MESSAGE = auto()
    VERIFY_MESSAGE = auto()
    ASYMMETRIC_ENCRYPT = auto()
    ASYMMETRIC_DECRYPT = auto()
    AEAD_ENCRYPT = auto()
    AEAD_DECRYPT = auto()
    CIPHER_ENCRYPT = auto()
    CIPHER_DECRYPT = auto()
    MAC_COMPUTE = auto()
    MAC_VERIFY = auto()
    HASH_COMPUTE = auto()
    HASH_COMPARE = auto()
    RAW_KEY_AGREEMENT = auto()
    GENERATE_RANDOM = auto()
    PREPARE_KEY_ATTESTATION = auto()
    ATTEST_KEY = auto()
    PS_SET = auto()
    PS_GET = auto()
    PS_GET_INFO = auto()
    PS_REMOVE = auto()
    INITIAL_ATTEST_GET_TOKEN = auto()
    KEY_STATEMENT = auto()

    # There is one object for each value; the enumeration's own hash is a Python call, and every request asks for it.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Capability:
    """One row: with keys of this type and these sizes, these functions work under these algorithms.

    ``key_type`` is NONE for functions without a key, and ``key_bits`` then empty. ``algorithms`` holds concrete
    algorithms (no wildcard hash); it is empty where no algorithm takes part (generate, import, export, random).
    """

    functions: Function
    key_type: KeyType = KeyType.NONE
    key_bits: Collection[int] = ()
    algorithms: frozenset[Algorithm] = frozenset()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """All rows of a provider. ``generation`` changes whenever a token's coming or going changes the rows.

    ``offered`` is everything that any row offers. It and the rows of each type of key are asked for in each request,
    so they are made once.
    """

    generation: int
    rows: tuple[Capability, ...]
    offered: frozenset[Function] = field(init=False)
    _of_type: Mapping[KeyType, tuple[Capability, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offered", frozenset(function for row in self.rows for function in row.functions))
        of_type: dict[KeyType, tuple[Capability, ...]] = {}
        for row in self.rows:
            of_type[row.key_type] = (*of_type.get(row.key_type, ()), row)
        object.__setattr__(self, "_of_type", of_type)

    def can_hold(self, function: Function, key_type: KeyType, key_bits: int) -> bool:
        """Whether GENERATE_KEY or IMPORT_KEY works for this type and size."""
        return any(key_bits in row.key_bits and function in row.functions for row in self._of_type.get(key_type, ()))

    def can_use(self, functions: Function, attributes: KeyAttributes) -> bool:
        """Whether any of these functions works with a key of these attributes under the algorithm of its policy."""
        return any(
            attributes.key_bits in row.key_bits
            and row.functions & functions
            and _covers(row.algorithms, attributes.algorithm)
            for row in self._of_type.get(attributes.key_type, ())
        )


@dataclass(frozen=True, slots=True)
class ProviderIdentity:
    """How a provider presents itself: numbers and strings that clients compare and print."""

    provider_id: int
    uuid: str
    description: str
    vendor: str
    version: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Created:
    """A new key: where it is, and its attributes with whatever was inferred (the size of an imported key)."""

    reference: bytes
    attributes: KeyAttributes


OBJECT_ATTRIBUTES: Final = KeyAttributes(KeyType.RAW_DATA, 0, UsageFlags.NONE, Algorithm.NONE)
"""What stands for the attributes of a stored object wherever a key has some."""


class ObjectInfo(NamedTuple):
    """``psa_storage_info_t``: sizes in bytes, and ``psa_storage_create_flags_t``."""

    capacity: int
    size: int
    flags: int


class LoadedKey:
    """A key made ready for use by one provider instance; providers subclass it with what they parsed.

    It lives in the service's cache and is dropped as soon as the store says that the key changed. ``replacement``
    is set by a provider when any call found that the key must from now on be reached by another reference.
    """

    __slots__ = ("attributes", "reference", "replacement")

    def __init__(self, reference: bytes, attributes: KeyAttributes) -> None:
        self.reference = reference
        self.attributes = attributes
        self.replacement: bytes | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.attributes.key_type!r} {self.attributes.key_bits} bits>"


def _not_supported() -> PsaError:
    return PsaError(PsaStatus.NOT_SUPPORTED, "this provider does not have the operation")


class BackEndAbsentError(PsaError):
    """There is no back end to start, and the provider's settings say that the service does without it then."""


class Provider(ABC):
    """A back end. What a subclass leaves out is not supported."""

    identity: ClassVar[ProviderIdentity]
    keeps_keys: ClassVar[bool] = False  # whether keys live in the back end, so that `plan` names their place
    needs_host: bool = False
    """Whether it uses a device or a native library, so that only a process of its own may carry its calls out."""
    binds_callers: bool = False
    """Whether its evidence says of its caller what is in the challenge and nothing else, so that he has to be in it."""

    @abstractmethod
    def start(self, state: bytes | None) -> bytes | None:
        """Get ready, given the few bytes kept from the last start (None the first time).

        Returns what is to be kept for the next start. Raises PsaError where the state shows that the stored keys
        belong to another back end (a lost wrapping key, a cleared TPM): the service then refuses to start, but for
        BackEndAbsentError, at which it leaves the provider out.
        """

    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    def close(self) -> None:
        """Give back what this process holds of the back end; whatever is called next opens it again."""
        return  # most hold nothing

    def stepped(self, processes: int) -> SteppedProvider | None:
        """The same provider in steps, over a :class:`Link` of the calling process; None where calls never wait.

        A process asks once, after it was forked; so many ``processes`` of the service do.
        """
        return None

    def is_neighbour(self) -> bool:
        """Whether keys are kept by processes of this very user, which the service has to shut itself out of."""
        return False

    def is_slow(self, function: Function, attributes: KeyAttributes | None, input_bytes: int) -> bool:
        """Whether this call may take more than 2 ms, so that it must not run in a worker's loop."""
        return False

    def plan(self, attributes: KeyAttributes) -> bytes | None:
        """The reference that a key made now would get; None, and only then, if the provider does not keep keys."""
        return None

    @abstractmethod
    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        """Generate a key, or import ``material`` (in the format of PSA's export functions) as one.

        ``reference`` is what :meth:`plan` gave. ``attributes.key_bits`` 0 with material means: infer the size.
        """

    @abstractmethod
    def destroy(self, reference: bytes) -> None:
        """Destroy the key; to destroy what is not there (any more) is no error."""

    @abstractmethod
    def exists(self, reference: bytes) -> bool: ...

    @abstractmethod
    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        """Make a key ready for use."""

    def export_key(self, key: LoadedKey) -> Secret:
        raise _not_supported()

    def export_public_key(self, key: LoadedKey) -> bytes:
        raise _not_supported()

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        raise _not_supported()

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        """Returns if the signature is right, raises INVALID_SIGNATURE if not."""
        raise _not_supported()

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> bytes:
        raise _not_supported()

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> None:
        """Returns if the signature is right, raises INVALID_SIGNATURE if not."""
        raise _not_supported()

    def asymmetric_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes, salt: bytes) -> bytes:
        raise _not_supported()

    def asymmetric_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Secret:
        raise _not_supported()

    def aead_encrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> bytes:
        raise _not_supported()

    def aead_decrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Secret:
        """The plaintext; raises INVALID_SIGNATURE if the tag does not match."""
        raise _not_supported()

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> bytes:
        """A fresh IV, where the mode has one, followed by the ciphertext."""
        raise _not_supported()

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Secret:
        raise _not_supported()

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> bytes:
        raise _not_supported()

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> None:
        """Returns if the MAC is right, raises INVALID_SIGNATURE if not."""
        raise _not_supported()

    def hash_compute(self, alg: Hash, data: bytes) -> bytes:
        raise _not_supported()

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> None:
        """Returns if the hash is right, raises INVALID_SIGNATURE if not."""
        raise _not_supported()

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Secret:
        raise _not_supported()

    def generate_random(self, size_bytes: int) -> Secret:
        raise _not_supported()

    def prepare_key_attestation(self, attested: LoadedKey, attesting: LoadedKey | None) -> tuple[bytes, bytes, bytes]:
        """What a verifier needs for ActivateCredential: TPM name, TPMT_PUBLIC, public key of the attesting key."""
        raise _not_supported()

    def attest_key(
        self, attested: LoadedKey, attesting: LoadedKey | None, *, credential_blob: bytes, secret: bytes
    ) -> Secret:
        """The credential that TPM2_ActivateCredential gives back."""
        raise _not_supported()

    # Keys that upstream's provider made, under references that come from :meth:`ProviderType.adopted`

    def check_adopted(self, reference: bytes, attributes: KeyAttributes) -> KeyAttributes:
        """See whether the back end has this key of upstream's; nothing is changed, and ``start`` was not called yet.

        Returns the attributes that the key has here. PsaError, whose detail says why, if it cannot be taken over.
        """
        if not self.exists(reference):
            raise PsaError(PsaStatus.DOES_NOT_EXIST, "the back end has no such key")
        return attributes

    def adopt(self, reference: bytes) -> None:
        """Take the key that :meth:`check_adopted` found for this provider's own; again, after an interruption, too."""
        del reference

    # Protected storage (PSA Secure Storage 1.0). An object's reference, like a key's, is what `load`, `exists` and
    # `destroy` take: they tell the two apart. To destroy a write-once object is NOT_PERMITTED.

    def plan_object(self) -> bytes:
        """The reference that an object made now would get."""
        raise _not_supported()

    def set_object(self, reference: bytes, data: Secret, flags: int) -> None:
        """Make the object, or replace what is in it, in one step."""
        raise _not_supported()

    def get_object(self, key: LoadedKey, offset: int, size: int) -> Secret:
        """At most so many bytes from there; size 0 stands for all that there are."""
        raise _not_supported()

    def get_object_info(self, key: LoadedKey) -> ObjectInfo:
        raise _not_supported()

    def attestation_token(self, challenge: bytes) -> bytes:
        """A token with this challenge in it (PSA Attestation API, psa_initial_attest_get_token)."""
        raise _not_supported()

    def key_statement(self, key: LoadedKey, challenge: bytes) -> bytes:
        """Signed by the back end, with this challenge in it: that it has the key, what it is, where it came from."""
        raise _not_supported()


@dataclass(frozen=True, slots=True)
class BackEndCall:
    """One call to a back end in another process, on behalf of an operation that goes on when it is answered.

    ``slow`` tells calls that may keep the back end busy for long: they must not hold up the others.
    """

    link: Link
    opcode: int
    request: bytes = field(repr=False)
    slow: bool = False


@dataclass(frozen=True, slots=True)
class BackEndAnswer:
    """What came of a call: the service's status and response, or the error that kept it from being answered."""

    status: int = 0
    response: bytes = field(default=b"", repr=False)
    error: PsaError | None = None


class Link(ABC):
    """A process's own way to a back end, for loops that wait for many things at once. No method ever waits long."""

    connections: int = 0
    """How often it has connected: a new connection may have the last one's descriptor."""

    @property
    def due_s(self) -> float:
        """When :func:`time.monotonic` reaches this, ``flush`` is to be called although there is nothing new."""
        return inf

    @abstractmethod
    def fileno(self) -> int:
        """What to poll for input; it may change with every call of another method, and is -1 while there is none."""

    @abstractmethod
    def submit(self, number: int, user: object, call: BackEndCall) -> BackEndAnswer | None:
        """Take a call, to be sent at the next flush or in turn by user. Each is answered once, under its number.

        The answer is given here if the call failed already.
        """

    @abstractmethod
    def flush(self) -> list[tuple[int, BackEndAnswer]]:
        """Send what was taken, all at once; those that failed on the way."""

    @abstractmethod
    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""

    @abstractmethod
    def collect(self) -> list[tuple[int, BackEndAnswer]]:
        """Answers that have come, and failures; to be asked whenever there is input."""


_T = TypeVar("_T")
Steps = Generator[BackEndCall, BackEndAnswer, _T]
"""An operation that yields calls, is sent their answers, and returns its result or raises PsaError."""


class SteppedProvider(ABC):
    """The operations of a provider as steps, for callers with an event loop of their own.

    Beside these it has every operation of :class:`Provider` from ``export_key`` on, under the same name and with the
    same parameters; each returns :data:`Steps` to the result.
    """

    @abstractmethod
    def plan(self, attributes: KeyAttributes) -> Steps[bytes]: ...

    @abstractmethod
    def create(self, reference: bytes, attributes: KeyAttributes, material: Secret | None) -> Steps[Created]: ...

    @abstractmethod
    def destroy(self, reference: bytes) -> Steps[None]: ...

    @abstractmethod
    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        """As :meth:`Provider.load`, without any call."""

    def plan_object(self) -> Steps[bytes]:
        raise _not_supported()

    def set_object(self, reference: bytes, data: Secret, flags: int) -> Steps[None]:
        raise _not_supported()


Settings: TypeAlias = Any
"""A frozen dataclass of the provider type's own."""


class ProviderType(ABC):
    """A kind of provider, found through the entry-point group ``edgeroot.providers``.

    ``settings`` is a frozen dataclass: its field names are the keys that a ``[[provider]]`` table may have, its types
    and defaults are checked when the configuration is read. A field's ``metadata`` is for the reference: ``meaning``,
    ``otherwise`` (what holds where it is left out and the default is no value), and ``ours`` where upstream has it not.
    """

    provider_type: ClassVar[str]
    default_name: ClassVar[str]
    settings: ClassVar[type[Any]]
    adopts_material: ClassVar[bool] = False
    """Whether a key that upstream's provider of this type made is taken over by its material, and not by its place."""

    @abstractmethod
    def open(self, settings: Settings, *, store_path: Path) -> Provider:
        """A provider with these settings whose own files, if it has any, lie beside the key store ``store_path``."""

    def devices(self, settings: Settings) -> tuple[Path, ...]:
        """The devices that providers with these settings write to, which a service that is confined must keep."""
        del settings
        return ()

    def adopted(self, key_id: bytes, attributes: KeyAttributes) -> bytes:
        """The reference of a key that upstream's provider of this type made and wrote down as ``key_id``.

        Whether the back end has the key :meth:`Provider.check_adopted` says. Not asked where ``adopts_material``.
        PsaError NOT_SUPPORTED where such keys cannot be taken over, DATA_INVALID for what upstream would not write.
        """
        del key_id, attributes
        raise PsaError(PsaStatus.NOT_SUPPORTED, f"keys of upstream's {self.provider_type} are not taken over yet")

    def setting_names(self) -> tuple[str, ...]:
        return tuple(f.name for f in fields(self.settings))


def _covers(offered: frozenset[Algorithm], policy: Algorithm) -> bool:
    if not policy.is_wildcard:
        return policy in offered
    return any(alg & ~0xFF == policy & ~0xFF and alg.hash is not None for alg in offered)
