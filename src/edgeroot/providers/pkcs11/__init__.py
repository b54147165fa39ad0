"""Keys in a PKCS#11 token: see :mod:`edgeroot.providers.pkcs11.provider`."""

from edgeroot.providers.pkcs11.provider import Pkcs11ProviderType as Pkcs11ProviderType
from edgeroot.providers.pkcs11.settings import Pkcs11Settings as Pkcs11Settings
