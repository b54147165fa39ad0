"""The relying party: judges evidence by what is known of devices and their firmware. Reads bytes and gives verdicts."""

from edgeroot.verifier.appraisal import Appraisal as Appraisal
from edgeroot.verifier.appraisal import Check as Check
from edgeroot.verifier.appraisal import appraise as appraise
from edgeroot.verifier.corim import Endorsements as Endorsements
from edgeroot.verifier.corim import ReferenceValue as ReferenceValue
from edgeroot.verifier.corim import VerificationKey as VerificationKey
from edgeroot.verifier.corim import read_corim as read_corim
from edgeroot.verifier.corim import write_corim as write_corim
from edgeroot.verifier.ear import ear_claims as ear_claims
from edgeroot.verifier.errors import VerifierError as VerifierError
from edgeroot.verifier.policy import Policy as Policy
from edgeroot.verifier.policy import parse_policy as parse_policy
from edgeroot.verifier.trust import Status as Status
from edgeroot.verifier.trust import TrustVector as TrustVector
