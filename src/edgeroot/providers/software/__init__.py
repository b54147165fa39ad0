"""The software provider: keys are sealed blobs in the service's store, cryptography is the engine's."""

from edgeroot.providers.software.provider import SoftwareProvider as SoftwareProvider
from edgeroot.providers.software.provider import SoftwareProviderType as SoftwareProviderType
from edgeroot.providers.software.provider import SoftwareSettings as SoftwareSettings
