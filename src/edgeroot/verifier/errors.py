"""What is wrong with what a verifier was given to judge by. Bad evidence is no error: it gets a bad verdict."""

from __future__ import annotations


class VerifierError(Exception):
    """Endorsements or a policy cannot be used; the message says why, and what to do."""
