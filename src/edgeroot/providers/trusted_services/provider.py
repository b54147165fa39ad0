"""The Trusted Services provider under the identity of upstream's, so that clients and configurations carry over.

It has two ways to the secure world. To the emulated one every process of the service has channels of its own, and a
worker takes the operations in steps. A device (Linux's TSTEE driver) is owned by one host process, because for the
secure world all of Linux is one caller, and its few operation contexts are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from edgeroot.abi.emulation import memory_slots
from edgeroot.abi.key_attributes import LOCATION_LOCAL_STORAGE, LOCATION_PRIMARY_SECURE_ELEMENT
from edgeroot.abi.services import ATTESTATION, ATTESTATION_RFC9783, CRYPTO, PROTECTED_STORAGE
from edgeroot.providers.api import (
    BackEndAnswer,
    BackEndCall,
    Capabilities,
    Created,
    Link,
    LoadedKey,
    ObjectInfo,
    Provider,
    ProviderIdentity,
    ProviderType,
    Steps,
)
from edgeroot.providers.trusted_services.capabilities import capabilities
from edgeroot.providers.trusted_services.native import ChannelLink, NoLink, SessionCaller, cores, is_own, usual_socket
from edgeroot.providers.trusted_services.objects import WorldSteps
from edgeroot.providers.trusted_services.reference import KeyReference
from edgeroot.psa import Algorithm, Hash, KeyAttributes, PsaError, PsaStatus, Secret
from edgeroot.tee.api import Transport
from edgeroot.tee.transports.emulated import EmulatedTransport

_T = TypeVar("_T")
_BUFFER_BYTES: Final = 17 * 4096  # one record of 65,535 bytes and what stands before it
_DEVICE_BUFFER_BYTES: Final = 8192  # what the reference's clients share, and so what every device takes
_SPARE_SLOTS: Final = 4  # for other processes of the service's user: the supervisor at start, the scout, a tool
_GENERATIONS: Final = 2  # after a reload, processes of the last configuration are still there for a while
_BUFFERS_MAX: Final = 7  # of one process; more calls under way than that are no faster
TRANSPORTS: Final = ("emulated", "device")
LOCATIONS: Final = {"local": LOCATION_LOCAL_STORAGE, "secure-element": LOCATION_PRIMARY_SECURE_ELEMENT}


@dataclass(frozen=True, slots=True)
class TrustedServicesSettings:
    """The keys of the ``[[provider]]`` table."""

    transport: str = field(
        default="emulated",
        metadata={"meaning": '`"emulated"`, or `"device"` for Linux\'s TSTEE driver (`/dev/teeN`).', "ours": True},
    )
    socket_path: Path | None = field(
        default=None,
        metadata={"meaning": "The emulated secure world's socket.", "otherwise": "the usual place", "ours": True},
    )
    key_location: str = field(
        default="local",
        metadata={
            "meaning": 'Where new keys are: `"local"` in the secure world\'s storage, or `"secure-element"` in '
            "[its secure element](secure-element.md#behind-the-secure-world). Keys stay where they were made.",
            "ours": True,
        },
    )

    def __post_init__(self) -> None:
        if self.key_location not in LOCATIONS:
            raise ValueError(f'key_location must be "local" or "secure-element", not "{self.key_location}"')
        if self.transport not in TRANSPORTS:
            raise ValueError(f'transport must be "emulated" or "device", not "{self.transport}"')
        if self.transport == "device" and self.socket_path is not None:
            raise ValueError("socket_path is the emulated world's: leave it out with a device")


class TrustedServicesProvider(Provider):
    """Keys in the crypto partition, objects in protected storage, tokens of initial attestation."""

    identity = ProviderIdentity(
        provider_id=4,
        uuid="71129441-508a-4da6-b6e8-7b98a777e4c0",
        description=(
            "Provider exposing functionality provided by the Trusted Service running in a Trusted Execution Environment"
        ),
        vendor="Arm",
        version=(0, 1, 0),
    )
    keeps_keys: ClassVar[bool] = True

    def __init__(
        self,
        open_transport: Callable[[], Transport],
        *,
        socket_path: Path | None,
        location: int = LOCATION_LOCAL_STORAGE,
    ) -> None:
        """``socket_path`` is the emulated world's, None for a device; ``location`` is where new keys are."""
        self._location = location
        self.needs_host = socket_path is None
        self._socket_path = socket_path
        self._buffer_bytes = _DEVICE_BUFFER_BYTES if socket_path is None else _BUFFER_BYTES
        self._services = (
            CRYPTO,
            PROTECTED_STORAGE,
            ATTESTATION if socket_path is None else ATTESTATION_RFC9783,  # which a device does not have
        )
        links = [NoLink() for _ in self._services]
        self._steps = WorldSteps(*links, capacity_bytes=self._buffer_bytes, location=location)
        self._callers: dict[Link, SessionCaller] = {
            link: SessionCaller(open_transport, service, buffer_bytes=self._buffer_bytes)
            for link, service in zip(links, self._services, strict=True)
        }

    def start(self, state: bytes | None) -> bytes | None:
        """See whether the secure world answers; COMMUNICATION_FAILURE if not."""
        next(iter(self._callers.values())).check()
        return None

    def is_neighbour(self) -> bool:
        return self._socket_path is not None and is_own(self._socket_path)

    def capabilities(self) -> Capabilities:
        in_element = self._location != LOCATION_LOCAL_STORAGE
        return capabilities(in_element=in_element, states_keys=self._socket_path is not None)

    def stepped(self, processes: int) -> WorldSteps | None:
        path = self._socket_path
        if path is None:
            return None
        shares = (memory_slots(cores()) - _SPARE_SLOTS) // (_GENERATIONS * processes)
        buffers = min(max(1, shares), _BUFFERS_MAX)
        links = [
            ChannelLink(path, service, buffers=buffers, buffer_bytes=self._buffer_bytes) for service in self._services
        ]
        return WorldSteps(*links, capacity_bytes=self._buffer_bytes, location=self._location)

    def plan(self, attributes: KeyAttributes) -> bytes:
        return self._run(self._steps.plan(attributes))

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        if reference is None:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key of this provider needs a planned place")
        return self._run(self._steps.create(reference, attributes, material))

    def destroy(self, reference: bytes) -> None:
        self._run(self._steps.destroy(reference))

    def exists(self, reference: bytes) -> bool:
        return self._run(self._steps.exists(reference))

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        return self._steps.load(reference, attributes)

    def export_key(self, key: LoadedKey) -> Secret:
        return self._run(self._steps.export_key(key))

    def export_public_key(self, key: LoadedKey) -> bytes:
        return self._run(self._steps.export_public_key(key))

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        return self._run(self._steps.sign_hash(key, alg, hash_value))

    def verify_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        self._run(self._steps.verify_hash(key, alg, hash_value, signature))

    def sign_message(self, key: LoadedKey, alg: Algorithm, message: bytes) -> bytes:
        return self._run(self._steps.sign_message(key, alg, message))

    def verify_message(self, key: LoadedKey, alg: Algorithm, message: bytes, signature: bytes) -> None:
        self._run(self._steps.verify_message(key, alg, message, signature))

    def asymmetric_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes, salt: bytes) -> bytes:
        return self._run(self._steps.asymmetric_encrypt(key, alg, plaintext, salt))

    def asymmetric_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Secret:
        return self._run(self._steps.asymmetric_decrypt(key, alg, ciphertext, salt))

    def aead_encrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes
    ) -> bytes:
        return self._run(
            self._steps.aead_encrypt(key, alg, nonce=nonce, additional_data=additional_data, plaintext=plaintext)
        )

    def aead_decrypt(
        self, key: LoadedKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes
    ) -> Secret:
        return self._run(
            self._steps.aead_decrypt(key, alg, nonce=nonce, additional_data=additional_data, ciphertext=ciphertext)
        )

    def cipher_encrypt(self, key: LoadedKey, alg: Algorithm, plaintext: bytes) -> bytes:
        return self._run(self._steps.cipher_encrypt(key, alg, plaintext))

    def cipher_decrypt(self, key: LoadedKey, alg: Algorithm, ciphertext: bytes) -> Secret:
        return self._run(self._steps.cipher_decrypt(key, alg, ciphertext))

    def mac_compute(self, key: LoadedKey, alg: Algorithm, data: bytes) -> bytes:
        return self._run(self._steps.mac_compute(key, alg, data))

    def mac_verify(self, key: LoadedKey, alg: Algorithm, data: bytes, mac: bytes) -> None:
        self._run(self._steps.mac_verify(key, alg, data, mac))

    def hash_compute(self, alg: Hash, data: bytes) -> bytes:
        return self._run(self._steps.hash_compute(alg, data))

    def hash_compare(self, alg: Hash, data: bytes, hash_value: bytes) -> None:
        self._run(self._steps.hash_compare(alg, data, hash_value))

    def raw_key_agreement(self, key: LoadedKey, alg: Algorithm, peer_key: bytes) -> Secret:
        return self._run(self._steps.raw_key_agreement(key, alg, peer_key))

    def generate_random(self, size_bytes: int) -> Secret:
        return self._run(self._steps.generate_random(size_bytes))

    def plan_object(self) -> bytes:
        return self._run(self._steps.plan_object())

    def set_object(self, reference: bytes, data: Secret, flags: int) -> None:
        self._run(self._steps.set_object(reference, data, flags))

    def get_object(self, key: LoadedKey, offset: int, size: int) -> Secret:
        return self._run(self._steps.get_object(key, offset, size))

    def get_object_info(self, key: LoadedKey) -> ObjectInfo:
        return self._run(self._steps.get_object_info(key))

    def attestation_token(self, challenge: bytes) -> bytes:
        return self._run(self._steps.attestation_token(challenge))

    def key_statement(self, key: LoadedKey, challenge: bytes) -> bytes:
        return self._run(self._steps.key_statement(key, challenge))

    def close(self) -> None:
        """Disconnect; the next call connects again."""
        for caller in self._callers.values():
            caller.close()

    def _run(self, steps: Steps[_T]) -> _T:
        """Drive the steps, waiting for each answer."""
        answer: BackEndAnswer | None = None
        while True:
            try:
                call: BackEndCall = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                result: _T = end.value
                return result
            answer = self._callers[call.link].call(call)


class TrustedServicesProviderType(ProviderType):
    """``provider_type = "TrustedService"``."""

    provider_type: ClassVar[str] = "TrustedService"
    default_name: ClassVar[str] = "trusted-service-provider"
    settings: ClassVar[type[Any]] = TrustedServicesSettings

    def adopted(self, key_id: bytes, attributes: KeyAttributes) -> bytes:
        return bytes(KeyReference.of_upstream(key_id, attributes))

    def open(self, settings: TrustedServicesSettings, *, store_path: Path) -> TrustedServicesProvider:
        location = LOCATIONS[settings.key_location]
        if settings.transport == "device":
            from edgeroot.tee.transports.tstee import TsteeTransport

            return TrustedServicesProvider(TsteeTransport, socket_path=None, location=location)
        path = settings.socket_path or usual_socket()
        return TrustedServicesProvider(lambda: EmulatedTransport(path), socket_path=path, location=location)
