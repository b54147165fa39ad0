"""Keys (PSA Crypto API 1.2, clauses 9.6 to 9.8) and random numbers (10.10)."""

from __future__ import annotations

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.tee.psa.attributes import PsaKeyAttributes
from edgeroot.tee.psa.operation import Crypto, fitting


class Keys(Crypto):
    """Key ids are numbers; 0 is ``PSA_KEY_ID_NULL``."""

    def psa_import_key(self, attributes: PsaKeyAttributes, data: bytes) -> int:
        """The new key's id."""
        self._require_room(data)
        return self._new(Op.IMPORT_KEY, m.ImportKeyRequest(attributes.to_abi(), data))

    def psa_generate_key(self, attributes: PsaKeyAttributes) -> int:
        """The new key's id. INVALID_ARGUMENT for a public key, or without a size."""
        return self._new(Op.GENERATE_KEY, m.GenerateKeyRequest(attributes.to_abi()))

    def psa_copy_key(self, source_key: int, attributes: PsaKeyAttributes) -> int:
        """The copy's id. Its policy is the intersection of the source's and that of ``attributes``."""
        return self._new(Op.COPY_KEY, m.CopyKeyRequest(source_key, attributes.to_abi()))

    def psa_destroy_key(self, key: int) -> None:
        """To destroy key 0 changes nothing."""
        self._do(Op.DESTROY_KEY, m.KeyIdRequest(key))

    def psa_purge_key(self, key: int) -> None:
        """Drop what is only a copy in memory; a volatile key stays."""
        try:
            self._do(Op.PURGE_KEY, m.KeyIdRequest(key))
        except PsaError as error:
            if error.status is not PsaStatus.DOES_NOT_EXIST:
                raise
            # What Mbed TLS says of an unknown key here, and services over it; the specification (9.7) has one status.
            raise PsaError(PsaStatus.INVALID_HANDLE, "there is no such key") from error

    def psa_get_key_attributes(self, key: int) -> PsaKeyAttributes:
        found = self._call(Op.GET_KEY_ATTRIBUTES, m.KeyIdRequest(key), m.KeyAttributesResponse)
        return PsaKeyAttributes.from_abi(found.attributes)

    def psa_export_key(self, key: int, *, data_size: int | None = None) -> Secret:
        """The key in PSA's format; NOT_PERMITTED without PSA_KEY_USAGE_EXPORT."""
        return Secret(fitting(self._data(Op.EXPORT_KEY, m.KeyIdRequest(key)), data_size))

    def psa_export_public_key(self, key: int, *, data_size: int | None = None) -> bytes:
        return fitting(self._data(Op.EXPORT_PUBLIC_KEY, m.KeyIdRequest(key)), data_size)

    def psa_generate_random(self, output_size: int) -> Secret:
        """So many random bytes."""
        requests = map(m.GenerateRandomRequest, self._sizes(output_size))
        return Secret(b"".join(self._data(Op.GENERATE_RANDOM, request) for request in requests))

    def _new(self, opcode: Op, request: object) -> int:
        return self._call(opcode, request, m.KeyIdResponse).key_id
