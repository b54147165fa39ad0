from __future__ import annotations

import pytest

from edgeroot.providers.pkcs11.reference import KeyReference
from edgeroot.psa import EccFamily, KeyType, PsaError, PsaStatus

PAIR = KeyType.ecc_key_pair(EccFamily.SECP_R1)


def test_a_reference_is_as_its_description_says() -> None:
    reference = KeyReference(PAIR, bytes(range(16)))
    assert bytes(reference) == b"\x01\x12\x71" + bytes(range(16))
    assert KeyReference.from_bytes(bytes(reference)) == reference


def test_ids_of_other_lengths_are_ids() -> None:
    assert KeyReference.from_bytes(b"\x01\x01\x70\xde\xad\xbe\xef") == KeyReference(
        KeyType.RSA_KEY_PAIR, b"\xde\xad\xbe\xef"
    )


@pytest.mark.parametrize("reference", [b"", b"\x01", b"\x01\x12\x71", b"\x02\x12\x71" + bytes(16), b"\0" * 19])
def test_what_is_no_reference_is_refused(reference: bytes) -> None:
    with pytest.raises(PsaError) as raised:
        KeyReference.from_bytes(reference)
    assert raised.value.status is PsaStatus.DATA_INVALID
