"""The Trusted Services provider: keys live in the secure world's crypto partition, and never leave it."""

from edgeroot.providers.trusted_services.provider import TrustedServicesProvider as TrustedServicesProvider
from edgeroot.providers.trusted_services.provider import TrustedServicesProviderType as TrustedServicesProviderType
from edgeroot.providers.trusted_services.provider import TrustedServicesSettings as TrustedServicesSettings
