"""Conversion between the contract's messages and typed values."""
