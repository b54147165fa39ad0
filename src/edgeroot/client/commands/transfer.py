"""Keys into the service, and public keys (and private ones, where permitted) out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import STDIO, read_input, write_output, written
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, note, printable, refuse_terminal
from edgeroot.cli.settings import current
from edgeroot.client.commands import names
from edgeroot.client.commands.encoding import to_base64
from edgeroot.client.commands.keys import curve_hash, exportable_option
from edgeroot.client.commands.session import key_name_option, service
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyType, Secret, UsageFlags

if TYPE_CHECKING:
    from edgeroot.client.commands.key_files import KeyFile

SECTION = "Keys"
_SIGN = UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE
_VERIFY = UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE


@command(
    "import-key",
    examples=[
        "edgeroot import-key -k web server-key.pem",
        "edgeroot import-key -k peer peer-certificate.pem                   # its public key",
        "edgeroot import-key -k mail mail-key.pem --alg rsa-oaep:sha-256 --usage decrypt",
        "head -c 32 /dev/urandom | edgeroot import-key -k files - --type aes --alg gcm",
    ],
)
@key_name_option("Name of the new key.")
@click.argument("file", metavar="FILE")
@click.option("--type", "key_type", type=names.KEY_TYPE, metavar="TYPE", help="FILE holds PSA's bytes of this type.")
@click.option("-b", "--bits", type=click.IntRange(min=0), default=0, metavar="BITS", help="Size. Default: inferred.")
@click.option("--alg", type=names.ALGORITHM, metavar="ALG", help="The algorithm permitted. Default: signatures.")
@click.option("--usage", type=names.USAGE, metavar="FLAGS", help="Usage flags. Default: what the algorithm is for.")
@click.option("--passphrase-file", metavar="FILE", help="The first line is the passphrase of an encrypted key.")
@exportable_option
def import_key(
    key_name: str,
    file: str,
    key_type: KeyType | None,
    bits: int,
    alg: Algorithm | None,
    usage: UsageFlags | None,
    passphrase_file: str | None,
    *,
    exportable: bool,
) -> None:
    """Store a key that was made elsewhere; '-' reads it from standard input.

    FILE is an RSA, EC, X25519 or X448 key in PEM or DER, private or public, or a certificate. With --type it holds the
    key as PSA writes it: raw bytes for AES, HMAC and ChaCha20, PKCS#1 DER for RSA, a scalar or a point for EC.
    Without --alg, RSA keys sign with PKCS#1 v1.5 and SHA-256, EC keys with ECDSA and the hash that fits the curve,
    AES keys encrypt with GCM, and HMAC keys use SHA-256.
    """
    if file == passphrase_file == STDIO:
        raise click.UsageError("standard input can be either the key or its passphrase")
    data = Secret(read_input(file))
    if key_type is None:
        found = _read_key_file(data, passphrase_file)
        key_type, bits, data = found.key_type, found.key_bits, found.data
    algorithm = alg if alg is not None else _default_algorithm(key_type, bits)
    flags = usage if usage is not None else _default_usage(key_type, algorithm)
    if exportable:
        flags |= UsageFlags.EXPORT
    attributes = KeyAttributes(key_type, bits, flags, algorithm)
    with service() as client:
        client.import_key(key_name, attributes, data)
    note(f'Key "{printable(key_name)}" imported.')
    emit({"key_name": key_name, **names.describe(attributes)}, None)


def _read_key_file(data: bytes, passphrase_file: str | None) -> KeyFile:
    from edgeroot.client.commands.key_files import read_key

    passphrase = None if passphrase_file is None else Secret(read_input(passphrase_file).split(b"\n")[0].rstrip(b"\r"))
    return read_key(data, passphrase)


def _default_algorithm(key_type: KeyType, bits: int) -> Algorithm:
    from edgeroot.psa import Hash

    if key_type.is_rsa:
        return Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256)
    if key_type.is_ecc:
        montgomery = key_type.ecc_family is EccFamily.MONTGOMERY
        return Algorithm.ECDH if montgomery else Algorithm.ecdsa(curve_hash(bits or 256))
    defaults = {
        KeyType.AES: Algorithm.GCM,
        KeyType.CHACHA20: Algorithm.CHACHA20_POLY1305,
        KeyType.HMAC: Algorithm.hmac(Hash.SHA_256),
        KeyType.RAW_DATA: Algorithm.NONE,
    }
    if key_type not in defaults:
        raise click.UsageError(f"say with --alg what a key of type {names.spell_key_type(key_type)} is for")
    return defaults[key_type]


def _default_usage(key_type: KeyType, algorithm: Algorithm) -> UsageFlags:
    if algorithm.is_sign:
        return _VERIFY if key_type.is_public_key else _SIGN | _VERIFY
    if algorithm.is_asymmetric_encryption and key_type.is_public_key:
        return UsageFlags.ENCRYPT
    if algorithm.is_asymmetric_encryption or algorithm.is_aead or algorithm.is_cipher:
        return UsageFlags.ENCRYPT | UsageFlags.DECRYPT
    if algorithm.is_mac:
        return UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
    if algorithm.is_key_agreement or algorithm.is_key_derivation:
        return UsageFlags.DERIVE
    return UsageFlags.EXPORT


@command(
    "export-key",
    examples=[
        "edgeroot export-key -k web -o web-key.pem",
        "edgeroot export-key -k files --format raw -o files.key",
    ],
)
@key_name_option()
@click.option(
    "-o", "--output", metavar="FILE", help="Where it goes (mode 0600). Default: standard output, if no terminal."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "der", "raw"]),
    help="PKCS#8 in PEM or DER, or PSA's bytes. Default: pem for RSA and EC key pairs, else raw.",
)
@click.option("--force", is_flag=True, help="Write to a terminal, or replace FILE.")
def export_key(key_name: str, output: str | None, form: str | None, *, force: bool) -> None:
    """Read a key out of the service, if it was made to permit that.

    For the public part of a key pair use export-public-key, which needs no permission.
    """
    if output is None:
        refuse_terminal("a key", force=force)
    with service() as client:
        attributes = client.key_attributes(key_name)
        pair = attributes.key_type.is_key_pair and (attributes.key_type.is_rsa or attributes.key_type.is_ecc)
        chosen = form or ("pem" if pair else "raw")
        if chosen != "raw" and not pair:
            raise CommandError(f"{key_name} has no {chosen.upper()} form: use --format raw, or export-public-key")
        data = client.export_key(key_name)
        encoded = data if chosen == "raw" else _pkcs8(attributes, data, chosen)
    if output is None and current().json:
        emit({"key_name": key_name, "format": chosen, "key_base64": to_base64(encoded)}, None)
        return
    write_output(output, bytes(encoded), what="a key", force=force, mode=0o600)
    written(output, {"key_name": key_name, "format": chosen})


def _pkcs8(attributes: KeyAttributes, data: Secret, form: str) -> Secret:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from edgeroot.client.commands.key_files import private_key_of

    key = private_key_of(attributes, data)
    return Secret(
        key.private_bytes(Encoding.PEM if form == "pem" else Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )


@command(
    "export-public-key",
    examples=[
        "edgeroot export-public-key -k web > web.pem",
        "edgeroot export-public-key -k web --pkcs1",
        "edgeroot export-public-key -k agreement --raw -o agreement.pub",
    ],
)
@key_name_option()
@click.option("--pkcs1", is_flag=True, help="An RSA key as RSA PUBLIC KEY (PKCS#1) instead of PUBLIC KEY (X.509).")
@click.option("--raw", is_flag=True, help="PSA's bytes: PKCS#1 DER for RSA, a point for EC.")
@click.option("-o", "--output", metavar="FILE", help="Where it goes. Default: standard output.")
@click.option("--force", is_flag=True, help="Write raw bytes to a terminal, or replace FILE.")
def export_public_key(key_name: str, output: str | None, *, pkcs1: bool, raw: bool, force: bool) -> None:
    """Print the public part of a key pair, or a public key, in PEM."""
    if pkcs1 and raw:
        raise click.UsageError("choose either --pkcs1 or --raw")
    with service() as client:
        if raw:
            data = client.export_public_key(key_name)
        else:
            attributes = client.key_attributes(key_name)
            data = _public_pem(attributes, client.export_public_key(key_name), pkcs1=pkcs1)
    if current().json and output is None:
        fields = {"public_key_base64": to_base64(data)} if raw else {"public_key_pem": data.decode("ascii")}
        emit({"key_name": key_name, **fields}, None)
    elif output is not None or raw:
        write_output(output, data, what="a key in PSA's raw form", force=force)
        written(output, {"key_name": key_name})
    else:
        click.echo(data.decode("ascii"), nl=False)


def _public_pem(attributes: KeyAttributes, data: bytes, *, pkcs1: bool) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from edgeroot.client.keys.public import load_public_key

    if pkcs1 and not attributes.key_type.is_rsa:
        raise CommandError("only RSA keys have the form PKCS#1: leave out --pkcs1")
    key = load_public_key(attributes, data)
    return key.public_bytes(Encoding.PEM, PublicFormat.PKCS1 if pkcs1 else PublicFormat.SubjectPublicKeyInfo)
