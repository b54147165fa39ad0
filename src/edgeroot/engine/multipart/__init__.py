"""Operations in several parts (PSA Crypto API 1.2): objects that are fed and then finished, once.

A wrong order of calls is BAD_STATE, and so is any call after an operation has ended. An error does not end it by
itself: whoever holds it does, by letting it go.
"""

from edgeroot.engine.multipart.aead import AeadOperation as AeadOperation
from edgeroot.engine.multipart.aead import aead_setup as aead_setup
from edgeroot.engine.multipart.cipher import CipherOperation as CipherOperation
from edgeroot.engine.multipart.cipher import cipher_setup as cipher_setup
from edgeroot.engine.multipart.hash import HashOperation as HashOperation
from edgeroot.engine.multipart.hash import hash_setup as hash_setup
from edgeroot.engine.multipart.key_derivation import KeyDerivationOperation as KeyDerivationOperation
from edgeroot.engine.multipart.key_derivation import key_derivation_setup as key_derivation_setup
from edgeroot.engine.multipart.mac import MacOperation as MacOperation
from edgeroot.engine.multipart.mac import mac_setup as mac_setup
