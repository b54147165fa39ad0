"""What the service is and has, who its clients are, and random bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeroot.cli.errors import FAILURE
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, listing, note
from edgeroot.cli.settings import current
from edgeroot.client.commands import names
from edgeroot.client.commands.session import service
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, UsageFlags

if TYPE_CHECKING:
    from edgeroot.wire.operations import ProviderInfo

SECTION = "The service"


@command("ping", examples=["edgeroot ping", "edgeroot --timeout 2 ping && echo 'the service is up'"])
def ping() -> None:
    """Ask the service whether it is there.

    Prints the version of the wire protocol that it speaks.
    """
    with service() as client:
        major, minor = client.ping()
    note("Service wire protocol version")
    emit({"wire_protocol_version": f"{major}.{minor}"}, f"{major}.{minor}")


@command("list-providers", examples=["edgeroot list-providers", "edgeroot list-providers --json"])
def list_providers() -> None:
    """List the service's providers, the preferred one first."""
    from edgeroot.client.commands.upstream_names import provider_name

    with service() as client:
        providers = client.list_providers()
    plain = [
        line
        for provider in providers
        for line in (
            f"ID: {provider.id:#04x} ({provider_name(provider.id, provider.name)})",
            f"Description: {provider.description}",
            f"Version: {_version(provider)}",
            f"Vendor: {provider.vendor or 'Unspecified'}",
            f"UUID: {provider.uuid}",
            "",
        )
    ]
    listing(
        {
            "providers": [
                {
                    "id": provider.id,
                    "name": provider.name,
                    "uuid": provider.uuid,
                    "description": provider.description,
                    "vendor": provider.vendor,
                    "version": _version(provider),
                    "edgeroot_version": provider.edgeroot_version,
                }
                for provider in providers
            ]
        },
        ("ID", "Provider", "Description", "Version", "UUID"),
        [
            (f"{info.id:#04x}", info.name or provider_name(info.id), info.description, _version(info), info.uuid)
            for info in providers
        ],
        plain,
    )


def _version(provider: ProviderInfo) -> str:
    return f"{provider.version_maj}.{provider.version_min}.{provider.version_rev}"


@command("list-authenticators", examples=["edgeroot list-authenticators"])
def list_authenticators() -> None:
    """List the ways in which the service lets clients prove who they are."""
    from edgeroot.client.commands.upstream_names import authenticator_name

    with service() as client:
        found = client.list_authenticators()
    rows = [
        (
            f"{info.id:#04x}",
            authenticator_name(info.id),
            info.description,
            f"{info.version_maj}.{info.version_min}.{info.version_rev}",
        )
        for info in found
    ]
    listing(
        {
            "authenticators": [
                {"id": info.id, "name": name, "description": description, "version": version}
                for info, (_, name, description, version) in zip(found, rows, strict=True)
            ]
        },
        ("ID", "Authenticator", "Description", "Version"),
        rows,
        [
            line
            for number, name, description, version in rows
            for line in (f"ID: {number} ({name})", f"Description: {description}", f"Version: {version}", "")
        ],
    )


@command("list-opcodes", examples=["edgeroot list-opcodes", "edgeroot list-opcodes -p 1"])
def list_opcodes() -> None:
    """List the operations that a provider offers; without -p, those of the service's core."""
    from edgeroot.wire.opcodes import Opcode
    from edgeroot.wire.operations import ProviderId

    known = {opcode.value: opcode.display_name for opcode in Opcode}
    settings = current()
    core = settings.provider in (None, ProviderId.CORE.value)
    if core:
        settings.provider = None  # the client itself uses providers of cryptography only
    with service() as client:
        provider = ProviderId.CORE.value if core else client.provider_id()
        opcodes = sorted(client.list_opcodes(provider))
    rows = [(f"{opcode:#04x}", known.get(opcode, "unknown to this client")) for opcode in opcodes]
    listing(
        {
            "provider_id": provider,
            "opcodes": [{"opcode": opcode, "name": known.get(opcode)} for opcode in opcodes],
        },
        ("Opcode", "Operation"),
        rows,
        [f"{opcode} ({name})" for opcode, name in rows],
    )


@command("list-clients", examples=["edgeroot list-clients"])
def list_clients() -> None:
    """List the applications that have keys (for admins)."""
    with service() as client:
        clients = client.list_clients()
    if not clients:
        note("No clients currently have keys.")
    listing({"clients": list(clients)}, ("Application",), [(name,) for name in clients], clients)


@command("delete-client", examples=["edgeroot delete-client -c 1000"])
@click.option(
    "-c", "--client", "name", required=True, metavar="NAME", help="The application, as list-clients shows it."
)
def delete_client(name: str) -> None:
    """Destroy all keys of an application (for admins)."""
    with service() as client:
        client.delete_client(name)
    note(f'All data of client "{name}" deleted.')
    emit({"deleted_client": name}, None)


@command(
    "generate-random", examples=["edgeroot generate-random -n 16", "edgeroot generate-random -n 32 --raw > seed.bin"]
)
@click.option("-n", "--nbytes", type=click.IntRange(min=0), required=True, metavar="N", help="How many bytes.")
@click.option("--raw", is_flag=True, help="Write the bytes themselves instead of hexadecimal digits.")
@click.option("--force", is_flag=True, help="Write raw bytes even to a terminal.")
def generate_random(nbytes: int, *, raw: bool, force: bool) -> None:
    """Print random bytes from the provider, as upper-case hexadecimal digits."""
    with service() as client:
        data = client.generate_random(nbytes)
    if raw and not current().json:
        from edgeroot.cli.files import write_output

        write_output(None, data, what="random data", force=force)
        return
    emit({"random_hex": data.hex()}, "".join(f"{byte:02X} " for byte in data))


@command(
    "can-do-crypto",
    examples=[
        "edgeroot can-do-crypto generate --type rsa-key-pair --bits 3072 --alg rsa-pss:sha-256 --usage sign",
        "edgeroot can-do-crypto use --type aes --bits 256 --alg gcm --usage encrypt,decrypt",
    ],
)
@click.argument("check", type=click.Choice(["use", "generate", "import", "derive"]))
@click.option(
    "--type",
    "key_type",
    type=names.KEY_TYPE,
    required=True,
    metavar="TYPE",
    help="Key type, such as ecc-key-pair:secp-r1.",
)
@click.option("-b", "--bits", type=click.IntRange(min=0), default=0, metavar="BITS", help="Size; 0 leaves it open.")
@click.option("--alg", type=names.ALGORITHM, default="none", metavar="ALG", help="Algorithm, such as ecdsa:sha-256.")
@click.option("--usage", type=names.USAGE, default="", metavar="FLAGS", help="Usage flags, separated by commas.")
@click.pass_context
def can_do_crypto(
    context: click.Context, check: str, key_type: KeyType, bits: int, alg: Algorithm, usage: UsageFlags
) -> None:
    """Ask whether the provider could use, generate, import or derive a key of this kind.

    Prints yes or no; the exit code is 1 for no.
    """
    from edgeroot.wire.operations import CheckType

    attributes = KeyAttributes(key_type, bits, usage, alg)
    with service() as client:
        possible = client.can_do_crypto(CheckType[check.upper()], attributes)
    emit({"check": check, **names.describe(attributes), "possible": possible}, "yes" if possible else "no")
    if not possible:
        context.exit(FAILURE)
