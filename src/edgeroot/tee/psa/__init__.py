"""The PSA functional API for Python programs, over the secure world: one method for each function, under its PSA name.

Crypto API 1.2, Secure Storage API 1.0, Attestation API 2.0, Firmware Update API 1.0. A function's outputs are what its
method returns, and a status other than success is raised as :class:`~edgeroot.psa.PsaError`. Where the specification
gives an output buffer a size, a method takes it as a keyword, and BUFFER_TOO_SMALL is what it says; without it there is
room for everything.
"""

from edgeroot.tee.psa.attributes import PsaKeyAttributes as PsaKeyAttributes
from edgeroot.tee.psa.client import PsaClient as PsaClient
from edgeroot.tee.psa.firmware_update import FwuComponentInfo as FwuComponentInfo
from edgeroot.tee.psa.firmware_update import FwuComponentState as FwuComponentState
from edgeroot.tee.psa.operation import AeadOperation as AeadOperation
from edgeroot.tee.psa.operation import CipherOperation as CipherOperation
from edgeroot.tee.psa.operation import HashOperation as HashOperation
from edgeroot.tee.psa.operation import KeyDerivationOperation as KeyDerivationOperation
from edgeroot.tee.psa.operation import MacOperation as MacOperation
