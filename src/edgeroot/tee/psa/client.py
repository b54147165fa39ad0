"""All of the PSA functional API over one transport."""

from __future__ import annotations

from typing import Self

from edgeroot.tee.api import Transport
from edgeroot.tee.psa.aead import Aead
from edgeroot.tee.psa.asymmetric import Asymmetric
from edgeroot.tee.psa.attestation import Attestation
from edgeroot.tee.psa.calls import BUFFER_BYTES, Calls
from edgeroot.tee.psa.ciphers import Ciphers
from edgeroot.tee.psa.derivation import KeyDerivation
from edgeroot.tee.psa.firmware_update import FirmwareUpdate
from edgeroot.tee.psa.hashes import Hashes
from edgeroot.tee.psa.macs import Macs
from edgeroot.tee.psa.storage import Storage


class PsaClient(Hashes, Macs, Ciphers, Aead, KeyDerivation, Asymmetric, Storage, Attestation, FirmwareUpdate):
    """One caller of the secure world behind the transport, used by one thread.

    Keys and objects belong to the FF-A source that the transport is, and outlive this object; operations in several
    parts end with it. ``buffer_bytes`` is what is shared with each service.
    """

    def __init__(self, transport: Transport, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        calls = Calls(transport, buffer_bytes=buffer_bytes)
        Hashes.__init__(self, calls)
        Storage.__init__(self, calls)
        Attestation.__init__(self, calls)
        FirmwareUpdate.__init__(self, calls)

    def close(self) -> None:
        """End the sessions. The transport is the caller's."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
