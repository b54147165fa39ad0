"""Keys of the engine out of the numbers in vector files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from edgeroot import engine
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags


def attributes(key_type: KeyType, key_bits: int = 0) -> KeyAttributes:
    return KeyAttributes(key_type, key_bits, UsageFlags.NONE, Algorithm.NONE)


def imported(key_type: KeyType, data: bytes, key_bits: int = 0) -> engine.EngineKey:
    """The key as a client would bring it."""
    complete, material = engine.import_material(attributes(key_type, key_bits), data)
    return engine.load(complete, material)


def generated(key_type: KeyType, key_bits: int) -> engine.EngineKey:
    wanted = attributes(key_type, key_bits)
    return engine.load(wanted, engine.generate(wanted))


def rsa_public(n: int, e: int) -> bytes:
    return rsa.RSAPublicNumbers(e, n).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


def rsa_private(n: int, e: int, d: int, p: int, q: int) -> bytes:
    parts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    numbers = rsa.RSAPrivateNumbers(p, q, d, *parts, rsa.RSAPublicNumbers(e, n))
    private = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def loaded_rsa(data: bytes) -> engine.EngineKey:
    """A key pair without the proof of its primes, which takes long."""
    private = load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(private, rsa.RSAPrivateKey)
    return engine.load(attributes(KeyType.RSA_KEY_PAIR, private.key_size), Secret(data))


def pkcs1_examples(text: str) -> Iterator[Mapping[str, bytes]]:
    """Examples in the form of RSA Laboratories: ``# Name:`` and lines of hex; one mapping a message.

    The private exponent is called ``d``, since those files call it ``Exponent`` like the public one.
    """
    state: dict[str, bytes] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            if state.get(name) and name in ("Encryption", "Signature"):
                yield dict(state)
            previous, name = name, line.strip("#: ")
            if name == "Exponent" and previous == "Public exponent":
                name = "d"
            state[name] = b""
        elif name and line.strip() and not line.startswith("="):
            try:
                digits = line.replace(" ", "").strip()
                state[name] += bytes.fromhex(digits.rjust(len(digits) + len(digits) % 2, "0"))
            except ValueError:
                continue
    if state.get(name):
        yield dict(state)


@contextmanager
def refused(status: PsaStatus) -> Iterator[None]:
    """Asserts that the block ends with a PsaError of this status."""
    with pytest.raises(PsaError) as caught:
        yield
    assert caught.value.status is status
