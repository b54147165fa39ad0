"""What is wrong with a piece of evidence."""

from __future__ import annotations


class EvidenceError(Exception):
    """The evidence is malformed or incomplete, or its values are impossible: the message says where and how."""


class AuthenticationError(EvidenceError):
    """The evidence can be read, but its signature or authentication code is not the given key's."""
