"""The cryptography of the PSA Crypto API over pyca/cryptography: key material in, results out.

Nothing is kept between calls and nothing here reads a file, a clock or a policy. Material is what the engine wants back
to load a key; whoever stores it seals it (:mod:`edgeroot.sealing`), and :func:`export` turns it into the formats of
psa_export_key. Every failure is a PsaError: INVALID_ARGUMENT for impossible sizes and for algorithms that do not fit
the key, NOT_SUPPORTED for algorithms and curves that the library does not have, INVALID_SIGNATURE and INVALID_PADDING
for data that does not verify.
"""

from edgeroot.engine.hashes import hash_compare as hash_compare
from edgeroot.engine.hashes import hash_compute as hash_compute
from edgeroot.engine.key import EngineKey as EngineKey
from edgeroot.engine.key import FunctionName as FunctionName
from edgeroot.engine.key import Row as Row
from edgeroot.engine.keys import export as export
from edgeroot.engine.keys import generate as generate
from edgeroot.engine.keys import import_material as import_material
from edgeroot.engine.keys import load as load
from edgeroot.engine.keys import random as random
from edgeroot.engine.keys import rows as rows
from edgeroot.engine.multipart import AeadOperation as AeadOperation
from edgeroot.engine.multipart import CipherOperation as CipherOperation
from edgeroot.engine.multipart import HashOperation as HashOperation
from edgeroot.engine.multipart import KeyDerivationOperation as KeyDerivationOperation
from edgeroot.engine.multipart import MacOperation as MacOperation
from edgeroot.engine.multipart import aead_setup as aead_setup
from edgeroot.engine.multipart import cipher_setup as cipher_setup
from edgeroot.engine.multipart import hash_setup as hash_setup
from edgeroot.engine.multipart import key_derivation_setup as key_derivation_setup
from edgeroot.engine.multipart import mac_setup as mac_setup
