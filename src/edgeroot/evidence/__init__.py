"""Attestation formats, both written and read: the PSA token, COSE messages, boot event logs.

Reading checks structure and values and says EvidenceError; whether evidence is authentic is asked separately, with a
key (:func:`verify_sign1`, :func:`verify_mac0`), and whether it is good enough is for the relying party to decide.
"""

from edgeroot.evidence.cose import CoseAlgorithm as CoseAlgorithm
from edgeroot.evidence.cose import CoseMessage as CoseMessage
from edgeroot.evidence.cose import read_cose as read_cose
from edgeroot.evidence.cose import sign1 as sign1
from edgeroot.evidence.cose import verify_mac0 as verify_mac0
from edgeroot.evidence.cose import verify_sign1 as verify_sign1
from edgeroot.evidence.errors import AuthenticationError as AuthenticationError
from edgeroot.evidence.errors import EvidenceError as EvidenceError
from edgeroot.evidence.event_log import DigestAlgorithm as DigestAlgorithm
from edgeroot.evidence.event_log import Event as Event
from edgeroot.evidence.event_log import Measurement as Measurement
from edgeroot.evidence.event_log import read_event_log as read_event_log
from edgeroot.evidence.event_log import read_measurements as read_measurements
from edgeroot.evidence.event_log import write_event_log as write_event_log
from edgeroot.evidence.event_log import write_measurements as write_measurements
from edgeroot.evidence.psa_claims import CHALLENGE_SIZES_BYTES as CHALLENGE_SIZES_BYTES
from edgeroot.evidence.psa_claims import Lifecycle as Lifecycle
from edgeroot.evidence.psa_claims import Profile as Profile
from edgeroot.evidence.psa_claims import PsaClaims as PsaClaims
from edgeroot.evidence.psa_claims import SoftwareComponent as SoftwareComponent
from edgeroot.evidence.psa_token import PsaToken as PsaToken
from edgeroot.evidence.psa_token import decode_claims as decode_claims
from edgeroot.evidence.psa_token import encode_claims as encode_claims
from edgeroot.evidence.psa_token import read_token as read_token
from edgeroot.evidence.psa_token import write_token as write_token
