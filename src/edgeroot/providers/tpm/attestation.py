"""What the TPM attests to verifiers elsewhere: its PCRs, and that a key is in it."""

from __future__ import annotations

from typing import Final

from edgeroot.evidence import EvidenceError, TpmEvidence
from edgeroot.evidence.tpm_attest import Attest, PcrSelection, Quoted, pcr_digest
from edgeroot.evidence.tpm_structures import Alg
from edgeroot.providers.tpm.device import Opened
from edgeroot.providers.tpm.errors import TpmError
from edgeroot.psa import PsaError, PsaStatus

_CERTIFICATE_INDEX: Final = 0x01C00002  # of the RSA endorsement key (TCG EK Credential Profile, clause 2.2.1.4)
_TRIES: Final = 5


def quote(tpm: Opened, endorsement_auth: bytes, qualifying_data: bytes) -> TpmEvidence:
    """TPM2_Quote (Part 3, clause 18.4) over all PCRs of the best bank, with their values.

    Over all, as what a verifier does not care for it need not look at, and a list of those that it does would have to
    come from it. The endorsement key's certificate goes along if everybody may read it.
    """
    bank = tpm.inventory.pcr_bank
    selection = PcrSelection(bank, tpm.connection.pcr_banks()[bank])
    for _ in range(_TRIES):
        values = tpm.connection.pcr_values(bank, selection.indices)
        key = tpm.attestation_key(endorsement_auth)
        attest, signature = tpm.connection.quote(key.handle, bytes(selection), qualifying_data)
        if _digest_in(attest) == pcr_digest(values, Alg.SHA256):
            return TpmEvidence(
                attest=attest,
                signature=signature,
                attestation_key=key.public,
                endorsement_certificate=_certificate(tpm),
                pcrs=values,
            )
    raise PsaError(PsaStatus.COMMUNICATION_FAILURE, "the TPM's PCRs change more quickly than they can be read")


def certify(tpm: Opened, endorsement_auth: bytes, qualifying_data: bytes, *, handle: int, public: bytes) -> TpmEvidence:
    """TPM2_Certify (Part 3, clause 18.2) of a loaded key with this public area."""
    key = tpm.attestation_key(endorsement_auth)
    attest, signature = tpm.connection.certify(handle, key.handle, qualifying_data)
    return TpmEvidence(attest=attest, signature=signature, attestation_key=key.public, public=public)


def _digest_in(attest: bytes) -> bytes:
    try:
        quoted = Attest.from_bytes(attest).attested
    except EvidenceError as error:
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, "the TPM's quote is malformed") from error
    if not isinstance(quoted, Quoted):
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, "the TPM has answered with something that is no quote")
    return quoted.pcr_digest


def _certificate(tpm: Opened) -> bytes:
    try:
        return tpm.connection.nv_content(_CERTIFICATE_INDEX)
    except TpmError as error:
        if error.is_lost_connection or error.is_lost_state:
            raise
        return b""
