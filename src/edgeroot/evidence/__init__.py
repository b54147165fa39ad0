"""Attestation formats, both written and read: PSA tokens, key statements, COSE, boot event logs, a TPM's evidence.

Reading checks structure and values and says EvidenceError; whether evidence is authentic is asked separately, with a
key (:func:`verify_sign1`, :func:`verify_mac0`, :func:`verify_quote`, :func:`verify_certified_key`), and whether it is
good enough is for the relying party to decide.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edgeroot.evidence.cose import CoseAlgorithm as CoseAlgorithm
    from edgeroot.evidence.cose import CoseMessage as CoseMessage
    from edgeroot.evidence.cose import MacKey as MacKey
    from edgeroot.evidence.cose import mac0 as mac0
    from edgeroot.evidence.cose import read_cose as read_cose
    from edgeroot.evidence.cose import sign1 as sign1
    from edgeroot.evidence.cose import verify_mac0 as verify_mac0
    from edgeroot.evidence.cose import verify_sign1 as verify_sign1
    from edgeroot.evidence.errors import AuthenticationError as AuthenticationError
    from edgeroot.evidence.errors import EvidenceError as EvidenceError
    from edgeroot.evidence.event_log import DigestAlgorithm as DigestAlgorithm
    from edgeroot.evidence.event_log import Event as Event
    from edgeroot.evidence.event_log import Measurement as Measurement
    from edgeroot.evidence.event_log import extend_measurements as extend_measurements
    from edgeroot.evidence.event_log import read_event_log as read_event_log
    from edgeroot.evidence.event_log import read_measurements as read_measurements
    from edgeroot.evidence.event_log import write_event_log as write_event_log
    from edgeroot.evidence.event_log import write_measurements as write_measurements
    from edgeroot.evidence.key_statement import KeyStatement as KeyStatement
    from edgeroot.evidence.key_statement import StatedKey as StatedKey
    from edgeroot.evidence.key_statement import may_state_key as may_state_key
    from edgeroot.evidence.key_statement import read_key_statement as read_key_statement
    from edgeroot.evidence.key_statement import verify_key_statement as verify_key_statement
    from edgeroot.evidence.key_statement import write_key_statement as write_key_statement
    from edgeroot.evidence.psa_claims import Profile as Profile
    from edgeroot.evidence.psa_claims import PsaClaims as PsaClaims
    from edgeroot.evidence.psa_claims import SoftwareComponent as SoftwareComponent
    from edgeroot.evidence.psa_token import PsaToken as PsaToken
    from edgeroot.evidence.psa_token import decode_claims as decode_claims
    from edgeroot.evidence.psa_token import encode_claims as encode_claims
    from edgeroot.evidence.psa_token import read_token as read_token
    from edgeroot.evidence.psa_token import write_mac_token as write_mac_token
    from edgeroot.evidence.psa_token import write_token as write_token
    from edgeroot.evidence.shared_key import SharedKey as SharedKey
    from edgeroot.evidence.shared_key import read_shared_key as read_shared_key
    from edgeroot.evidence.tpm_attest import NotGeneratedError as NotGeneratedError
    from edgeroot.evidence.tpm_attest import replay as replay
    from edgeroot.evidence.tpm_evidence import ChallengeError as ChallengeError
    from edgeroot.evidence.tpm_evidence import KeyAttributesError as KeyAttributesError
    from edgeroot.evidence.tpm_evidence import KeyNameError as KeyNameError
    from edgeroot.evidence.tpm_evidence import PcrDigestError as PcrDigestError
    from edgeroot.evidence.tpm_evidence import PcrValueError as PcrValueError
    from edgeroot.evidence.tpm_evidence import TpmEvidence as TpmEvidence
    from edgeroot.evidence.tpm_evidence import UntrustedKeyError as UntrustedKeyError
    from edgeroot.evidence.tpm_evidence import VerifiedKey as VerifiedKey
    from edgeroot.evidence.tpm_evidence import VerifiedQuote as VerifiedQuote
    from edgeroot.evidence.tpm_evidence import WrongEvidenceError as WrongEvidenceError
    from edgeroot.evidence.tpm_evidence import attestation_public_key as attestation_public_key
    from edgeroot.evidence.tpm_evidence import read_tpm_evidence as read_tpm_evidence
    from edgeroot.evidence.tpm_evidence import verify_certified_key as verify_certified_key
    from edgeroot.evidence.tpm_evidence import verify_quote as verify_quote
    from edgeroot.evidence.tpm_evidence import write_tpm_evidence as write_tpm_evidence
    from edgeroot.evidence.tpm_structures import BORN_HERE as BORN_HERE
    from edgeroot.evidence.tpm_structures import MalformedError as MalformedError
    from edgeroot.psa import CHALLENGE_SIZES_BYTES as CHALLENGE_SIZES_BYTES
    from edgeroot.psa import Lifecycle as Lifecycle

# Loaded when they are asked for: a boot stage that writes an event log has no time for tokens and quotes.
_PLACES: Final = {
    "edgeroot.evidence.cose": "CoseAlgorithm CoseMessage MacKey mac0 read_cose sign1 verify_mac0 verify_sign1",
    "edgeroot.evidence.errors": "AuthenticationError EvidenceError",
    "edgeroot.evidence.event_log": (
        "DigestAlgorithm Event Measurement extend_measurements read_event_log read_measurements "
        "write_event_log write_measurements"
    ),
    "edgeroot.evidence.key_statement": (
        "KeyStatement StatedKey may_state_key read_key_statement verify_key_statement write_key_statement"
    ),
    "edgeroot.evidence.psa_claims": "Profile PsaClaims SoftwareComponent",
    "edgeroot.evidence.psa_token": "PsaToken decode_claims encode_claims read_token write_mac_token write_token",
    "edgeroot.evidence.shared_key": "SharedKey read_shared_key",
    "edgeroot.evidence.tpm_attest": "NotGeneratedError replay",
    "edgeroot.evidence.tpm_evidence": (
        "ChallengeError KeyAttributesError KeyNameError PcrDigestError PcrValueError TpmEvidence "
        "UntrustedKeyError VerifiedKey VerifiedQuote WrongEvidenceError attestation_public_key "
        "read_tpm_evidence verify_certified_key verify_quote write_tpm_evidence"
    ),
    "edgeroot.evidence.tpm_structures": "BORN_HERE MalformedError",
    "edgeroot.psa": "CHALLENGE_SIZES_BYTES Lifecycle",
}
_MODULES: Final = {name: module for module, names in _PLACES.items() for name in names.split()}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """PEP 562: a name of this package that was not used yet."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
