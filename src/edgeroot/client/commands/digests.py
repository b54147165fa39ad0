"""Hashes, message authentication codes, and key agreement."""

from __future__ import annotations

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import read_input, text_or_file, write_output, written
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, refuse_terminal
from edgeroot.cli.settings import current
from edgeroot.client.commands import names
from edgeroot.client.commands.encoding import from_hex, to_base64
from edgeroot.client.commands.session import key_name_option, service
from edgeroot.psa import Algorithm, Hash, KeyAttributes

SECTION = "Hashes, MACs and agreement"


@command(
    "hash",
    examples=[
        "edgeroot hash 'hello'",
        "edgeroot hash --file firmware.bin --alg sha-512",
        "edgeroot hash --file firmware.bin --compare 2cf24dba5fb0a30e...",
    ],
)
@click.argument("text", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Hash a file; '-' is standard input.")
@click.option("--alg", type=names.HASH, default="sha-256", show_default=True, metavar="HASH", help="The hash.")
@click.option("--compare", metavar="HEX", help="Let the service compare; the exit code is 1 if they differ.")
def hash_data(text: str | None, file: str | None, alg: Hash, compare: str | None) -> None:
    """Hash TEXT or a file in the service.

    The data has to fit into one request, 1 MiB unless the service is configured otherwise.
    """
    data = text_or_file(text, file)
    with service() as client:
        if compare is not None:
            client.hash_compare(alg, data, from_hex(compare, "--compare"))
            emit({"algorithm": names.spell_hash(alg), "equal": True}, "The hash is equal.")
            return
        digest = client.hash_compute(alg, data).hex()
    emit({"algorithm": names.spell_hash(alg), "hash_hex": digest}, digest)


@command("mac", examples=["edgeroot mac -k tokens 'hello'", "edgeroot mac -k tokens --file message.txt"])
@key_name_option()
@click.argument("text", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Authenticate a file; '-' is standard input.")
def mac(key_name: str, text: str | None, file: str | None) -> None:
    """Compute the MAC of TEXT or a file, in hexadecimal digits.

    The data has to fit into one request, 1 MiB unless the service is configured otherwise.
    """
    data = text_or_file(text, file)
    with service() as client:
        algorithm = _mac_algorithm(key_name, client.key_attributes(key_name))
        value = client.mac_compute(key_name, algorithm, data).hex()
    emit({"key_name": key_name, "algorithm": names.spell_algorithm(algorithm), "mac_hex": value}, value)


@command("verify-mac", examples=["edgeroot verify-mac -k tokens 'hello' --mac 8b5f48702995c159..."])
@key_name_option()
@click.argument("text", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Verify a file; '-' is standard input.")
@click.option("--mac", "mac_hex", required=True, metavar="HEX", help="The MAC, as mac prints it.")
def verify_mac(key_name: str, text: str | None, file: str | None, mac_hex: str) -> None:
    """Verify the MAC of TEXT or a file. The exit code is 1 if it is wrong."""
    value = from_hex(mac_hex, "--mac")
    data = text_or_file(text, file)
    with service() as client:
        algorithm = _mac_algorithm(key_name, client.key_attributes(key_name))
        client.mac_verify(key_name, algorithm, data, value)
    emit({"key_name": key_name, "algorithm": names.spell_algorithm(algorithm), "valid": True}, "The MAC is valid.")


def _mac_algorithm(key_name: str, attributes: KeyAttributes) -> Algorithm:
    if not attributes.algorithm.is_mac:
        raise CommandError(
            f"{key_name} is a key for {names.spell_algorithm(attributes.algorithm)}: make one with create-hmac-key"
        )
    return attributes.algorithm


@command(
    "agree",
    examples=[
        "edgeroot agree -k agreement --peer their-public-key.pem -o secret.bin",
        "edgeroot agree -k agreement --peer their-public-key.pem | openssl kdf ...",
    ],
)
@key_name_option("Name of the key pair, made with create-ecc-key --for-agreement.")
@click.option("--peer", required=True, metavar="FILE", help="The peer's public key: PEM, DER or PSA's raw form.")
@click.option("-o", "--output", metavar="FILE", help="Where the secret goes. Default: standard output, if no terminal.")
@click.option("--hex", "as_hex", is_flag=True, help="Write hexadecimal digits.")
@click.option("--force", is_flag=True, help="Write to a terminal, or replace FILE.")
def agree(key_name: str, peer: str, output: str | None, *, as_hex: bool, force: bool) -> None:
    """Compute the secret shared with a peer (ECDH, X25519, X448, FFDH).

    The secret is the agreement's raw result: derive keys from it before use.
    """
    from edgeroot.client.commands.key_files import peer_key_bytes

    peer_key = peer_key_bytes(read_input(peer))
    with service() as client:
        attributes = client.key_attributes(key_name)
        if not attributes.algorithm.is_key_agreement:
            raise CommandError(
                f"{key_name} is a key for {names.spell_algorithm(attributes.algorithm)}: make one with "
                "create-ecc-key --for-agreement"
            )
        if output is None:
            refuse_terminal("a shared secret", force=force)
        secret = client.raw_key_agreement(attributes.algorithm.raw_key_agreement, key_name, peer_key)
    if output is None and current().json:
        emit({"key_name": key_name, "shared_secret_base64": to_base64(secret)}, None)
        return
    data = secret.hex().encode() + b"\n" if as_hex else bytes(secret)
    write_output(output, data, what="a shared secret", force=force, mode=0o600)
    written(output, {"key_name": key_name})
