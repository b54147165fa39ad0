"""Certificate requests and self-signed certificates for keys in the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import write_output
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit
from edgeroot.cli.settings import current
from edgeroot.client.commands import names
from edgeroot.client.commands.session import key_name_option, service
from edgeroot.client.commands.signatures import signing_algorithm
from edgeroot.psa import Hash, KeyAttributes

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    from edgeroot.client import Client
    from edgeroot.client.keys import EcServiceKey, RsaServiceKey

SECTION = "Signatures and certificates"
F = TypeVar("F", bound=Callable[..., object])
_DAYS_MAX = 36_500
_SUBJECT = (
    ("--cn", "common name"),
    ("--l", "locality"),
    ("--o", "organization"),
    ("--ou", "organizational unit"),
    ("--st", "state or province"),
    ("--c", "country, two letters"),
    ("--serialNumber", "serial number of the device"),
)


def _subject_options(function: F) -> F:
    function = click.option("--force", is_flag=True, help="Replace FILE if it exists.")(function)
    function = click.option("-o", "--output", metavar="FILE", help="Where it goes. Default: standard output.")(function)
    function = click.option("--hash", "hash_alg", type=names.HASH, help="For a key that permits any hash.")(function)
    function = click.option(
        "--san", multiple=True, metavar="NAME", help="Alternative name: host, IP address, e-mail or URI. Repeatable."
    )(function)
    for flag, meaning in reversed(_SUBJECT):
        option = click.option(flag, flag.lstrip("-").lower(), metavar="TEXT", help=f"Subject: {meaning}.")
        function = option(function)
    return function


@command(
    "create-csr",
    examples=[
        "edgeroot create-csr -k web --cn www.example.com --san www.example.com --san 192.0.2.7",
        "edgeroot create-csr -k device --cn gateway --o Example --serialNumber 4711 -o gateway.csr",
    ],
)
@key_name_option("Name of the key pair that the certificate is for.")
@_subject_options
def create_csr(
    key_name: str, output: str | None, hash_alg: Hash | None, san: Sequence[str], *, force: bool, **subject: str | None
) -> None:
    """Make a certificate signing request (PKCS#10) in PEM, signed by the key."""
    from cryptography import x509

    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(subject))
    if san:
        builder = builder.add_extension(_alternative_names(san), critical=False)
    with service() as client:
        key, hashing, pss = _signer(client, key_name, hash_alg)
        request = builder.sign(key, hashing, rsa_padding=pss)
    _write_pem(key_name, "csr_pem", request, output, force=force)


@command(
    "create-certificate",
    examples=[
        "edgeroot create-certificate -k web --cn localhost --san localhost --san 127.0.0.1 --days 30",
        "edgeroot create-certificate -k root --cn 'My root' --ca -o root.pem",
    ],
)
@key_name_option("Name of the key pair that the certificate is for, and that signs it.")
@_subject_options
@click.option(
    "--days",
    type=click.IntRange(1, _DAYS_MAX),
    default=365,
    show_default=True,
    metavar="DAYS",
    help="How long it is valid, from now on.",
)
@click.option("--ca", is_flag=True, help="The certificate of a certification authority.")
def create_certificate(
    key_name: str,
    output: str | None,
    hash_alg: Hash | None,
    san: Sequence[str],
    days: int,
    *,
    ca: bool,
    force: bool,
    **subject: str | None,
) -> None:
    """Make a self-signed certificate (X.509) in PEM."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509

    name = _name(subject)
    now = datetime.now(UTC).replace(microsecond=0)
    with service() as client:
        key, hashing, pss = _signer(client, key_name, hash_alg)
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_key_usage(ca=ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if san:
            builder = builder.add_extension(_alternative_names(san), critical=False)
        certificate = builder.sign(key, hashing, rsa_padding=pss)
    _write_pem(key_name, "certificate_pem", certificate, output, force=force)


def _name(subject: dict[str, str | None]) -> x509.Name:
    from cryptography.x509 import Name, NameAttribute
    from cryptography.x509.oid import NameOID

    oids = {
        "cn": NameOID.COMMON_NAME,
        "l": NameOID.LOCALITY_NAME,
        "o": NameOID.ORGANIZATION_NAME,
        "ou": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "st": NameOID.STATE_OR_PROVINCE_NAME,
        "c": NameOID.COUNTRY_NAME,
        "serialnumber": NameOID.SERIAL_NUMBER,
    }
    attributes = []
    for field, oid in oids.items():
        value = subject.get(field)
        if value is not None:
            try:
                attributes.append(NameAttribute(oid, value))
            except ValueError as error:
                raise click.UsageError(f"--{field} cannot be {value!r}: {error}") from error
    return Name(attributes)


def _alternative_names(values: Sequence[str]) -> x509.SubjectAlternativeName:
    from ipaddress import ip_address

    from cryptography import x509

    found: list[x509.GeneralName] = []
    for value in values:
        try:
            found.append(x509.IPAddress(ip_address(value)))
            continue
        except ValueError:
            kind = (
                x509.UniformResourceIdentifier if "://" in value else x509.RFC822Name if "@" in value else x509.DNSName
            )
        try:
            found.append(kind(value))
        except ValueError as error:
            raise click.UsageError(f"--san cannot be {value!r}: {error}") from error
    return x509.SubjectAlternativeName(found)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _signer(
    client: Client, key_name: str, hash_alg: Hash | None
) -> tuple[
    RsaServiceKey | EcServiceKey, hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512, padding.PSS | None
]:
    """The key, the hash that its policy permits, and PSS if that is what it signs with."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    from edgeroot.client.keys import EcServiceKey, RsaServiceKey

    key = client.private_key(key_name)
    if not isinstance(key, RsaServiceKey | EcServiceKey):
        raise CommandError(f"{key_name} signs nothing: use a key made with create-ecc-key or create-rsa-key -s")
    attributes: KeyAttributes = key.attributes
    algorithm = signing_algorithm(key_name, attributes, hash_alg)
    known: dict[Hash | None, hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
        Hash.SHA_224: hashes.SHA224(),
        Hash.SHA_256: hashes.SHA256(),
        Hash.SHA_384: hashes.SHA384(),
        Hash.SHA_512: hashes.SHA512(),
    }
    hashing = known.get(algorithm.hash)
    if hashing is None:
        raise CommandError(f"certificates are not signed with {names.spell_algorithm(algorithm)}: use SHA-256")
    pss = padding.PSS(padding.MGF1(hashing), padding.PSS.DIGEST_LENGTH) if algorithm.is_rsa_pss else None
    return key, hashing, pss


def _write_pem(
    key_name: str,
    field: str,
    document: x509.Certificate | x509.CertificateSigningRequest,
    output: str | None,
    *,
    force: bool,
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    pem = document.public_bytes(Encoding.PEM)
    if output is not None:
        write_output(output, pem, what="PEM", force=force)
    if output is None or current().json:
        emit({"key_name": key_name, field: pem.decode("ascii")}, pem.decode("ascii").rstrip("\n"))
