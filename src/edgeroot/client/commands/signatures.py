"""Signing and verifying text and files."""

from __future__ import annotations

import hashlib
import os
from typing import Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import STDIO, open_input, read_input, write_output
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit
from edgeroot.cli.settings import current
from edgeroot.client.commands import names
from edgeroot.client.commands.encoding import from_base64, signature_from_der, signature_to_der, to_base64
from edgeroot.client.commands.session import key_name_option, service
from edgeroot.psa import Algorithm, Hash, KeyAttributes, UsageFlags

SECTION = "Signatures and certificates"
_PYTHON_NAMES: Final = {
    Hash.MD5: "md5",
    Hash.RIPEMD160: "ripemd160",
    Hash.SHA_1: "sha1",
    Hash.SHA_224: "sha224",
    Hash.SHA_256: "sha256",
    Hash.SHA_384: "sha384",
    Hash.SHA_512: "sha512",
    Hash.SHA_512_224: "sha512_224",
    Hash.SHA_512_256: "sha512_256",
    Hash.SHA3_224: "sha3_224",
    Hash.SHA3_256: "sha3_256",
    Hash.SHA3_384: "sha3_384",
    Hash.SHA3_512: "sha3_512",
}


@command(
    "sign",
    examples=[
        "edgeroot sign -k device 'hello'                             # base64, ECDSA in DER",
        "edgeroot sign -k device --file firmware.bin -o firmware.sig",
        "openssl dgst -sha256 -verify device.pem -signature firmware.sig firmware.bin",
    ],
)
@key_name_option()
@click.argument("text", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Sign a file of any size; '-' is standard input.")
@click.option("-o", "--output", metavar="FILE", help="Write the signature itself to a file instead of base64.")
@click.option("--hash", "hash_alg", type=names.HASH, help="For a key that permits any hash. Default: sha-256.")
@click.option("--raw-signature", is_flag=True, help="ECDSA as r || s, PSA's form, instead of DER.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def sign(
    key_name: str,
    text: str | None,
    file: str | None,
    output: str | None,
    hash_alg: Hash | None,
    *,
    raw_signature: bool,
    force: bool,
) -> None:
    """Sign TEXT or a file with the algorithm that the key permits.

    The data is hashed here and only the hash is sent, unless the key may sign messages only.
    """
    _check_source(text, file)
    with service() as client:
        attributes = client.key_attributes(key_name)
        algorithm = signing_algorithm(key_name, attributes, hash_alg)
        if attributes.usage & UsageFlags.SIGN_HASH:
            signature = client.sign_hash(key_name, algorithm, _digest(algorithm, text, file))
        else:
            signature = client.sign_message(key_name, algorithm, _whole(text, file))
    if not raw_signature:
        signature = signature_to_der(attributes, signature)
    if output is not None:
        write_output(output, signature, what="a signature", force=force)
    if output is None or current().json:
        encoded = to_base64(signature)
        emit(
            {"key_name": key_name, "algorithm": names.spell_algorithm(algorithm), "signature_base64": encoded}, encoded
        )


@command(
    "verify",
    examples=[
        "edgeroot verify -k device 'hello' --signature MEUCIQ...",
        "edgeroot verify -k device --file firmware.bin --signature-file firmware.sig",
    ],
)
@key_name_option("Name of the key pair or public key.")
@click.argument("text", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Verify a file of any size; '-' is standard input.")
@click.option("-s", "--signature", metavar="BASE64", help="The signature, as sign prints it.")
@click.option("--signature-file", metavar="FILE", help="A file with the signature, as sign --output writes it.")
@click.option("--hash", "hash_alg", type=names.HASH, help="For a key that permits any hash. Default: sha-256.")
@click.option("--raw-signature", is_flag=True, help="The ECDSA signature is r || s instead of DER.")
def verify(
    key_name: str,
    text: str | None,
    file: str | None,
    signature: str | None,
    signature_file: str | None,
    hash_alg: Hash | None,
    *,
    raw_signature: bool,
) -> None:
    """Verify the signature of TEXT or a file. The exit code is 1 if it is wrong."""
    _check_source(text, file)
    if (signature is None) == (signature_file is None):
        raise click.UsageError("give either --signature BASE64 or --signature-file FILE")
    if file == signature_file == STDIO:
        raise click.UsageError("standard input can be either the file or the signature")
    given = from_base64(signature, "--signature") if signature is not None else read_input(str(signature_file))
    with service() as client:
        attributes = client.key_attributes(key_name)
        algorithm = signing_algorithm(key_name, attributes, hash_alg)
        raw = given if raw_signature else signature_from_der(attributes, given)
        if attributes.usage & UsageFlags.VERIFY_HASH:
            client.verify_hash(key_name, algorithm, _digest(algorithm, text, file), raw)
        else:
            client.verify_message(key_name, algorithm, _whole(text, file), raw)
    emit(
        {"key_name": key_name, "algorithm": names.spell_algorithm(algorithm), "valid": True}, "The signature is valid."
    )


def signing_algorithm(key_name: str, attributes: KeyAttributes, hash_alg: Hash | None) -> Algorithm:
    """The concrete algorithm to sign with under a key's policy; CommandError if it permits none."""
    policy = attributes.algorithm
    if not policy.is_sign or policy.hash is None:
        raise CommandError(
            f"{key_name} is a key for {names.spell_algorithm(policy)}, which hashes no data and signs it: use a key "
            "made for signatures"
        )
    if policy.is_wildcard:
        return Algorithm(int(policy) & ~0xFF | (hash_alg or Hash.SHA_256) & 0xFF)
    if hash_alg is not None and hash_alg is not policy.hash:
        raise CommandError(f"{key_name} permits {names.spell_hash(policy.hash)} only: leave out --hash")
    return policy


def _check_source(text: str | None, file: str | None) -> None:
    if (text is None) == (file is None):
        raise click.UsageError("give either TEXT or --file FILE ('-' is standard input)")


def _whole(text: str | None, file: str | None) -> bytes:
    return os.fsencode(text) if text is not None else read_input(str(file))


def _digest(algorithm: Algorithm, text: str | None, file: str | None) -> bytes:
    name = _PYTHON_NAMES.get(algorithm.hash) if algorithm.hash is not None else None
    if name is None or name not in hashlib.algorithms_available:
        raise CommandError(f"this Python cannot compute {names.spell_algorithm(algorithm)}: use a key with SHA-256")
    if text is not None:
        return hashlib.new(name, os.fsencode(text)).digest()
    with open_input(str(file)) as data:
        hashing = hashlib.new(name)
        while chunk := data.read(1 << 20):
            hashing.update(chunk)
        return hashing.digest()
