"""Values of the PSA Certified APIs: key types, algorithms, usage, attributes, status codes, policy, challenges.

Nothing here does IO or uses keys, and nothing here knows a protocol. Numbers are those of the PSA Crypto API
1.2, so the same values travel over Parsec's contract, packed-c messages and stored records.
"""

from edgeroot.psa.algorithm import Algorithm as Algorithm
from edgeroot.psa.algorithm import Hash as Hash
from edgeroot.psa.attributes import KeyAttributes as KeyAttributes
from edgeroot.psa.attributes import UsageFlags as UsageFlags
from edgeroot.psa.challenge import CHALLENGE_SIZES_BYTES as CHALLENGE_SIZES_BYTES
from edgeroot.psa.challenge import bound_challenge as bound_challenge
from edgeroot.psa.challenge import check_challenge as check_challenge
from edgeroot.psa.derivation import DerivationStep as DerivationStep
from edgeroot.psa.key_type import DhFamily as DhFamily
from edgeroot.psa.key_type import EccFamily as EccFamily
from edgeroot.psa.key_type import KeyType as KeyType
from edgeroot.psa.lifecycle import Lifecycle as Lifecycle
from edgeroot.psa.origin import KeyOrigin as KeyOrigin
from edgeroot.psa.secret import Secret as Secret
from edgeroot.psa.status import PsaError as PsaError
from edgeroot.psa.status import PsaStatus as PsaStatus
