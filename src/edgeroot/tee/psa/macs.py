"""Message authentication codes (PSA Crypto API 1.2, clause 10.3)."""

from __future__ import annotations

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.tee.psa.operation import Crypto, MacOperation


class Macs(Crypto):
    """``alg`` is a MAC algorithm."""

    def psa_mac_compute(self, key: int, alg: int, data: bytes, *, mac_size: int | None = None) -> bytes:
        operation = MacOperation()
        self.psa_mac_sign_setup(operation, key, alg)
        try:
            self.psa_mac_update(operation, data)
            return self.psa_mac_sign_finish(operation, mac_size=mac_size)
        finally:
            self.psa_mac_abort(operation)

    def psa_mac_verify(self, key: int, alg: int, data: bytes, mac: bytes) -> None:
        """INVALID_SIGNATURE if it is not the data's."""
        operation = MacOperation()
        self.psa_mac_verify_setup(operation, key, alg)
        try:
            self.psa_mac_update(operation, data)
            self.psa_mac_verify_finish(operation, mac)
        finally:
            self.psa_mac_abort(operation)

    def psa_mac_sign_setup(self, operation: MacOperation, key: int, alg: int) -> None:
        self._set_up(operation, Op.MAC_SIGN_SETUP, m.KeyAlgorithmRequest(key, alg))

    def psa_mac_verify_setup(self, operation: MacOperation, key: int, alg: int) -> None:
        self._set_up(operation, Op.MAC_VERIFY_SETUP, m.KeyAlgorithmRequest(key, alg))

    def psa_mac_update(self, operation: MacOperation, data: bytes) -> None:
        self._feed(operation, Op.MAC_UPDATE, data)

    def psa_mac_sign_finish(self, operation: MacOperation, *, mac_size: int | None = None) -> bytes:
        return self._last_data(operation, Op.MAC_SIGN_FINISH, size=mac_size)

    def psa_mac_verify_finish(self, operation: MacOperation, mac: bytes) -> None:
        """INVALID_SIGNATURE if it is not the data's."""
        self._last(operation, Op.MAC_VERIFY_FINISH, m.EmptyResponse, mac)

    def psa_mac_abort(self, operation: MacOperation) -> None:
        self._abort(operation, Op.MAC_ABORT)
