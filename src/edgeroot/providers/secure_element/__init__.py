"""The secure element provider: keys are in the slots of an ATECC508A or ATECC608."""

from edgeroot.providers.secure_element.provider import SecureElementProvider as SecureElementProvider
from edgeroot.providers.secure_element.provider import SecureElementProviderType as SecureElementProviderType
from edgeroot.providers.secure_element.settings import SecureElementSettings as SecureElementSettings
