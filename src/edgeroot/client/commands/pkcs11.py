"""For programs that use the service's keys through PKCS#11: where the module is, and how OpenSSL is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit

SECTION = "The service"


@click.group(
    "pkcs11",
    cls=FrameGroup,
    short_help="Let OpenSSL and other programs use keys through PKCS#11.",
    examples=["edgeroot pkcs11 openssl-config > openssl.cnf", "edgeroot pkcs11 key-file -k device > device.key"],
)
def pkcs11() -> None:
    """Let programs that know nothing of Parsec use the service's keys, through edgeroot's PKCS#11 module.

    They find the service by PARSEC_SERVICE_ENDPOINT, as every client does, and have the keys of the user they run as.
    """


@command("module", examples=["pkcs11-tool --module $(edgeroot pkcs11 module) --list-objects"])
def module() -> None:
    """Say where the module is."""
    from edgeroot.client.tls.openssl import module_path

    with _errors():
        path = module_path()
    emit({"module": str(path)}, str(path))


@command(
    "openssl-config",
    examples=["edgeroot pkcs11 openssl-config > openssl.cnf", "OPENSSL_CONF=openssl.cnf openssl list -providers"],
)
def openssl_config() -> None:
    """Write a configuration of OpenSSL (OPENSSL_CONF) with which programs find the service's keys."""
    from edgeroot.client.tls.openssl import configuration

    with _errors():
        text = configuration().decode()
    emit({"openssl_conf": text}, text.rstrip("\n"))


@command(
    "key-file",
    examples=["edgeroot pkcs11 key-file -k device > device.key", "edgeroot pkcs11 key-file -k device --uri"],
)
@click.option("-k", "--key-name", required=True, help="The key.")
@click.option("--token", metavar="NAME", help="The provider's name, for a key name that several providers have.")
@click.option("--uri", is_flag=True, help="Print the PKCS#11 URI (RFC 7512) alone, for programs that take one.")
def key_file(key_name: str, token: str | None, uri: bool) -> None:
    """Write what stands for a key where a program wants the file of a private key (PEM). The key is not in it."""
    from edgeroot.client.tls.key_uri import key_uri, uri_pem

    found = key_uri(key_name, token)
    pem = uri_pem(found).decode()
    emit({"uri": found, "pem": pem}, found if uri else pem.rstrip("\n"))


@contextmanager
def _errors() -> Iterator[None]:
    from edgeroot.client.tls.errors import TlsError

    try:
        yield
    except TlsError as error:
        raise CommandError(str(error)) from error


pkcs11.add_command(module)
pkcs11.add_command(openssl_config)
pkcs11.add_command(key_file)
