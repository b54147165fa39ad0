"""The attestation partition: it says what the platform is and what has been booted, signed by a key of its own."""

from edgeroot.secure.partitions.attestation.attester import Attester as Attester
from edgeroot.secure.partitions.attestation.boot import UNMEASURED_EVENT_LOG as UNMEASURED_EVENT_LOG
from edgeroot.secure.partitions.attestation.boot import PlatformSettings as PlatformSettings
from edgeroot.secure.partitions.attestation.iak import IAK_ATTRIBUTES as IAK_ATTRIBUTES
from edgeroot.secure.partitions.attestation.iak import IAK_KEY_ID as IAK_KEY_ID
from edgeroot.secure.partitions.attestation.iak import IakKeys as IakKeys
from edgeroot.secure.partitions.attestation.service import LegacyAttestationService as LegacyAttestationService
from edgeroot.secure.partitions.attestation.service import Rfc9783AttestationService as Rfc9783AttestationService
from edgeroot.secure.partitions.attestation.service import attestation_services as attestation_services
