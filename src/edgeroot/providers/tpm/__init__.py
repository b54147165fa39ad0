"""The TPM provider: keys are blobs that only the device's TPM can use."""

from edgeroot.providers.tpm.provider import TpmProvider as TpmProvider
from edgeroot.providers.tpm.provider import TpmProviderType as TpmProviderType
from edgeroot.providers.tpm.settings import TpmSettings as TpmSettings
