"""Makes tokens: collects the claims and has the IAK sign them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Final

from edgeroot.evidence import (
    CoseAlgorithm,
    Profile,
    PsaClaims,
    SoftwareComponent,
    read_measurements,
    write_key_statement,
    write_token,
)
from edgeroot.evidence.psa_claims import UEID_RAND
from edgeroot.psa import PsaError, PsaStatus, Secret, check_challenge
from edgeroot.secure.partitions.attestation.boot import NO_SIGNER_ID, UNMEASURED_EVENT_LOG, PlatformSettings
from edgeroot.secure.partitions.attestation.iak import IakKeys, KeyInspector

# FF-A ids from here on belong to secure partitions, those below to the normal world (FF-A 1.1, clause 6.1).
_FIRST_SECURE_ID: Final = 0x8000


class Attester:
    """The initial attestation of one boot, in both profiles; what the partition's two services share.

    ``event_log`` is what the boot stage has measured, ``boot_seed`` 32 random bytes that are new at every start. The
    log is read here: EvidenceError if it is malformed, and then the partition must not start.
    """

    def __init__(
        self,
        keys: IakKeys,
        *,
        boot_seed: bytes,
        inspector: KeyInspector,
        settings: PlatformSettings | None = None,
        event_log: bytes = UNMEASURED_EVENT_LOG,
    ) -> None:
        if len(boot_seed) != 32:
            raise ValueError(f"a boot seed has 32 bytes, not {len(boot_seed)}")
        self._keys = keys
        self._inspector = inspector
        self._boot_seed = boot_seed
        self._settings = settings or PlatformSettings()
        self._measurements = read_measurements(event_log)
        # The point never changes while the key is there, and asking for it is a call to another partition.
        self._public_key: bytes | None = None

    def token(self, challenge: bytes, source_id: int, profile: Profile) -> bytes:
        """A token for the caller with this FF-A id. Makes an IAK if there is none.

        PsaError INVALID_ARGUMENT for a challenge that is not 32, 48 or 64 bytes; NOT_SUPPORTED for RFC 9783 if nothing
        was measured, which that profile cannot say.
        """
        check_challenge(len(challenge))
        write = partial(write_token, profile=profile, algorithm=CoseAlgorithm.ES256)
        return self._signed(challenge, source_id, profile, write)

    def key_statement(self, challenge: bytes, source_id: int, key_id: int) -> bytes:
        """A statement about a key that the caller with this FF-A id has in the crypto partition.

        What it says of the key comes from that partition, never from the caller. PsaError as :meth:`token` and as
        :meth:`edgeroot.secure.partitions.attestation.iak.KeyInspector.inspect` raise it.
        """
        check_challenge(len(challenge))
        key = self._inspector.inspect(source_id, key_id)
        write = partial(write_key_statement, key=key, algorithm=CoseAlgorithm.ES256)
        return self._signed(challenge, source_id, Profile.RFC9783, write)

    def _signed(self, challenge: bytes, source_id: int, profile: Profile, write: Callable[..., bytes]) -> bytes:
        if profile is Profile.RFC9783 and not self._measurements:
            raise PsaError(PsaStatus.NOT_SUPPORTED, "an RFC 9783 token has software components, and the log has none")
        claims = self._claims(challenge, source_id, profile)
        try:
            return write(claims, sign_hash=self._keys.sign_hash)
        except PsaError:
            # Perhaps the key is gone; then the instance id goes with it.
            self._public_key = None
            raise

    def token_size_bytes(self, challenge_bytes: int, source_id: int, profile: Profile) -> int:
        """How long a token with a challenge of this size is: one is made, as upstream's service does."""
        check_challenge(challenge_bytes)
        return len(self.token(bytes(challenge_bytes), source_id, profile))

    def public_key(self) -> bytes:
        """The IAK's public point, 65 bytes. Makes an IAK if there is none."""
        if self._public_key is None:
            if not self._keys.exists():
                self._keys.generate()
            self._public_key = self._keys.public_key()
        return self._public_key

    def import_iak(self, scalar: Secret) -> None:
        """Take this private key for the IAK; PsaError NOT_PERMITTED if there is one already."""
        if self._keys.exists():
            raise PsaError(PsaStatus.NOT_PERMITTED, "there is an initial attestation key")
        self._public_key = None
        self._keys.import_(scalar)

    def iak_exists(self) -> bool:
        return self._keys.exists()

    def _claims(self, challenge: bytes, source_id: int, profile: Profile) -> PsaClaims:
        settings = self._settings
        legacy = profile is Profile.LEGACY
        return PsaClaims(
            nonce=challenge,
            # Derived from the key, so that a verifier finds the key by it.
            instance_id=UEID_RAND + sha256(self.public_key()).digest(),
            client_id=source_id if legacy or source_id >= _FIRST_SECURE_ID else -1 - source_id,
            lifecycle=settings.lifecycle,
            implementation_id=settings.legacy_implementation_id if legacy else settings.implementation_id,
            boot_seed=self._boot_seed,
            software_components=tuple(
                SoftwareComponent(
                    measurement=measured.digest, measurement_type=measured.name, version=measured.version or None
                )
                if legacy
                else SoftwareComponent(
                    measurement=measured.digest,
                    measurement_type=measured.name,
                    version=measured.version or None,
                    signer_id=settings.signers.get(measured.name, NO_SIGNER_ID),
                    measurement_description=measured.algorithm.textual_name,
                )
                for measured in self._measurements
            ),
        )
