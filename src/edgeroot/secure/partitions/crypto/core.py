"""What the partition's two interfaces share in one context: the keys, the operations under way, and every handler."""

from __future__ import annotations

from typing import Final, NoReturn

from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.crypto.aead_operations import AeadOperations
from edgeroot.secure.partitions.crypto.answers import Handlers
from edgeroot.secure.partitions.crypto.asymmetric_operations import AsymmetricOperations
from edgeroot.secure.partitions.crypto.cipher_operations import CipherOperations
from edgeroot.secure.partitions.crypto.derivation_operations import DerivationOperations
from edgeroot.secure.partitions.crypto.hash_operations import HashOperations
from edgeroot.secure.partitions.crypto.key_operations import KeyOperations
from edgeroot.secure.partitions.crypto.keys import KeyStore
from edgeroot.secure.partitions.crypto.mac_operations import MacOperations
from edgeroot.secure.runtime.api import Caller


class CryptoCore:
    """The handlers by opcode, whatever the encoding."""

    def __init__(self, keys: KeyStore) -> None:
        self.load: Final = keys.load
        """For slow work: makes a key ready for use, wherever it is."""
        self._families: Final = (
            HashOperations(),
            CipherOperations(keys),
            DerivationOperations(keys),
            MacOperations(keys),
            AeadOperations(keys),
        )
        self.handlers: Final[Handlers] = {
            **KeyOperations(keys).handlers,
            **AsymmetricOperations(keys).handlers,
            **{opcode: handler for family in self._families for opcode, handler in family.handlers.items()},
            Op.VERIFY_PKCS7_SIGNATURE: _no_pkcs7,
            Op.GET_UEFI_PRIV_AUTH_VAR_FINGERPRINT: _no_pkcs7,
        }

    def channel_closed(self, caller: Caller) -> None:
        """Forget the operations that were set up over a channel."""
        for family in self._families:
            family.contexts.drop(caller)


def _no_pkcs7(_caller: Caller, _request: object, _capacity_bytes: int) -> NoReturn:
    # They serve the UEFI variables of a gateway that is not part of this secure world.
    raise PsaError(PsaStatus.NOT_SUPPORTED, "PKCS#7")
