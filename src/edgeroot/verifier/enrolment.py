"""Taking down as good what a TPM quotes now: the name of its attestation key, and PCRs or the events behind them.

Nothing here shows that the attestation key is a genuine TPM's: whoever calls it trusts the device at that moment, or
has found it out (TPM2_MakeCredential and TPM2_ActivateCredential).
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeroot.evidence import (
    EvidenceError,
    TpmEvidence,
    VerifiedQuote,
    attestation_public_key,
    read_event_log,
    replay,
    verify_quote,
)
from edgeroot.evidence.event_log import EV_NO_ACTION
from edgeroot.evidence.tpm_structures import Public
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, event_name, pcr_name
from edgeroot.verifier.errors import VerifierError


def endorse_quote(
    evidence: TpmEvidence, *, qualifying_data: bytes, kind: bytes, indices: Iterable[int]
) -> Endorsements:
    """Of the PCRs with these indices: each event's digest if there is a log, and otherwise the value.

    ``kind`` names the kind of device, as every device of it will be endorsed. VerifierError if the quote does not
    verify, a PCR was not quoted, or the log does not give the PCRs their values.
    """
    try:
        name = Public.from_bytes(evidence.attestation_key).name
        quote = verify_quote(evidence, trusted_name=name, qualifying_data=qualifying_data, expected={})
        key = attestation_public_key(evidence)
        references = set[ReferenceValue]().union(*(_references(evidence.event_log, quote, one) for one in indices))
    except EvidenceError as error:
        raise VerifierError(str(error)) from error
    device = VerificationKey(implementation_id=kind, instance_id=name, key=key)
    return Endorsements(keys={name: device}, references={kind: references})


def _references(log: bytes, quote: VerifiedQuote, index: int) -> set[ReferenceValue]:
    value = quote.pcrs.get(index)
    if value is None:
        raise VerifierError(f"PCR {index} was not quoted")
    if not log:
        return {ReferenceValue(measurement=value, signer_id=b"", name=pcr_name(index))}
    events = read_event_log(log)
    if replay(events, quote.bank).get(index) != value:
        raise VerifierError(f"the event log does not give PCR {index} its value")
    digests = {
        dict(event.digests)[quote.bank]
        for event in events
        if event.pcr_index == index and event.event_type != EV_NO_ACTION
    }
    return {ReferenceValue(measurement=one, signer_id=b"", name=event_name(index)) for one in digests}
