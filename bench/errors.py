"""The one error of the benchmark."""

from __future__ import annotations


class BenchError(RuntimeError):
    """A measurement can't be made; the message says why, for the person who reads the table."""
