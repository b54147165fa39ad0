"""Inputs of a key derivation (PSA Crypto API 1.2, clause 10.6)."""

from enum import IntEnum


class DerivationStep(IntEnum):
    """``psa_key_derivation_step_t``: those of HKDF and of the TLS 1.2 derivations."""

    SECRET = 0x0101
    OTHER_SECRET = 0x0103
    LABEL = 0x0201
    SALT = 0x0202
    INFO = 0x0203
    SEED = 0x0204
