"""Where a key's material came from: what PSA does not ask, and whoever relies on a key wants to know."""

from __future__ import annotations

from enum import IntEnum


class KeyOrigin(IntEnum):
    """How a key came to be where it is. Only of a generated one is it certain that nobody else ever had it."""

    UNKNOWN = 0
    """The key was made before origins were written down."""
    GENERATED = 1
    """psa_generate_key"""
    IMPORTED = 2
    """psa_import_key"""
    DERIVED = 3
    """psa_key_derivation_output_key"""
    COPIED = 4
    """psa_copy_key; the policy of the source may have been another."""
