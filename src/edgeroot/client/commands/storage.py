"""Secrets in protected storage, and what the device attests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import STDIO, read_input, write_output, written
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit, is_terminal, listing, note, printable, refuse_terminal
from edgeroot.cli.settings import current
from edgeroot.client.commands.encoding import from_hex, to_base64
from edgeroot.client.commands.session import key_name_option, service

if TYPE_CHECKING:
    from edgeroot.client.blocking import Client

SECTION = "Storage and attestation"
_WRITE_ONCE = 1  # psa_storage_create_flags_t
_object_name = click.argument("object_name", metavar="NAME")
_challenge = click.option(
    "--challenge", required=True, metavar="HEX", help="What the verifier wants to find in it: 32, 48 or 64 bytes."
)
_output = click.option(
    "-o", "--output", metavar="FILE", help="Where it goes. Default: standard output, if no terminal."
)
_force = click.option("--force", is_flag=True, help="Write to a terminal, or replace FILE.")


@click.group(
    "storage",
    cls=FrameGroup,
    short_help="Keep small secrets in the device's protected storage.",
    examples=["edgeroot storage set wifi -f wifi.psk", "edgeroot storage get wifi -o wifi.psk"],
)
def storage() -> None:
    """Small secrets of this user's in the device's protected storage: sealed, and safe from roll-back.

    Unlike keys they can be read again, by this user only.
    """


@command("set", examples=["edgeroot storage set wifi -f wifi.psk", "pwgen -s 32 1 | edgeroot storage set db"])
@_object_name
@click.option("-f", "--file", "file", metavar="FILE", default=STDIO, help="What to store. Default: standard input.")
@click.option("--write-once", is_flag=True, help="Never let it be changed or removed.")
def set_object(object_name: str, file: str, *, write_once: bool) -> None:
    """Store a secret, or replace it, in one step."""
    if file == STDIO and sys.stdin.isatty():
        raise CommandError("the secret comes from standard input or --file, so that no list of processes shows it")
    data = read_input(file)
    with service() as client:
        client.storage_set(object_name, data, write_once=write_once)
    note(f'Object "{printable(object_name)}" stored.')
    emit({"object_name": object_name, "size_bytes": len(data)}, None)


@command("get", examples=["edgeroot storage get wifi -o wifi.psk", "edgeroot storage get wifi | wpa_passphrase ..."])
@_object_name
@_output
@_force
def get_object(object_name: str, output: str | None, *, force: bool) -> None:
    """Read a stored secret."""
    as_json = output is None and current().json
    if output is None and not as_json:
        refuse_terminal("a secret", force=force)
    with service() as client:
        data = client.storage_get(object_name)
    if as_json:
        emit({"object_name": object_name, "data_base64": to_base64(data)}, None)
    else:
        write_output(output, bytes(data), what="a secret", force=force, mode=0o600)
        written(output, {"object_name": object_name})


@command("info", examples=["edgeroot storage info wifi"])
@_object_name
def info(object_name: str) -> None:
    """Show an object's size, and whether it can be changed."""
    with service() as client:
        found = client.storage_info(object_name)
    write_once = bool(found.flags & _WRITE_ONCE)
    emit(
        {
            "object_name": object_name,
            "size_bytes": found.size,
            "capacity_bytes": found.capacity,
            "flags": found.flags,
            "write_once": write_once,
        },
        f"{found.size} bytes{', write-once' if write_once else ''}",
    )


@command("list", examples=["edgeroot storage list"])
def list_objects() -> None:
    """List this user's objects in all providers."""
    from edgeroot.client.commands.upstream_names import provider_name

    with service() as client:
        objects = client.storage_list()
    if not objects:
        note("No objects currently stored.")
        if is_terminal():
            return
    listing(
        {"objects": [{"object_name": one.name, "provider_id": one.provider_id} for one in objects]},
        ("Name", "Provider"),
        [(one.name, provider_name(one.provider_id)) for one in objects],
        [f"* {one.name} ({provider_name(one.provider_id)})" for one in objects],
    )


@command("remove", examples=["edgeroot storage remove wifi"])
@_object_name
def remove(object_name: str) -> None:
    """Remove a stored secret. It cannot be had back."""
    with service() as client:
        client.storage_remove(object_name)
    note(f'Object "{printable(object_name)}" removed.')
    emit({"removed_object": object_name}, None)


for _command in (set_object, get_object, info, list_objects, remove):
    storage.add_command(_command)


@command(
    "attestation-token",
    examples=[
        "edgeroot attestation-token --challenge $(openssl rand -hex 32) -o token.cbor",
        "edgeroot attestation-token --verifier https://verifier.example:8443 -o result.jwt",
    ],
)
@click.option("--challenge", metavar="HEX", help="What the verifier wants to find in it: 32, 48 or 64 bytes.")
@click.option("--verifier", metavar="URL", help="Ask this verifier for the challenge, and give what it says.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Who is believed about it. Default: the system's.")
@_output
@_force
@click.pass_context
def attestation_token(
    context: click.Context,
    challenge: str | None,
    verifier: str | None,
    ca_file: Path | None,
    output: str | None,
    *,
    force: bool,
) -> None:
    """Have the device prove what it is and what it runs: a token that it signs.

    The secure world gives a COSE_Sign1 (RFC 9783), a TPM a quote of its PCRs in a CBOR map. Only a challenge that the
    verifier has just chosen shows that the token is fresh. With --verifier, the verifier's signed result (EAR in a JWT)
    is given instead, and the exit code is 1 unless it affirms the device.
    """
    if (challenge is None) == (verifier is None):
        raise click.UsageError("give either --challenge HEX or --verifier URL")
    if challenge is not None:
        _attest(challenge, output, force=force, what="token", ask=lambda client, data: client.attestation_token(data))
        return
    from edgeroot.cli.verdict import ask_verdict

    with service() as client:
        result, statuses = ask_verdict(str(verifier), client.attestation_token, ca_file)
    write_output(output, result.encode() + b"\n", what="the result", force=force)
    written(output, {"statuses": statuses})
    note("The verifier says: " + ", ".join(f"{name} {status}" for name, status in sorted(statuses.items())))
    if set(statuses.values()) != {"affirming"}:
        context.exit(1)


@command(
    "attest",
    examples=["edgeroot key attest -k device --challenge $(openssl rand -hex 32) -o device.statement"],
)
@key_name_option()
@_challenge
@_output
@_force
def attest_key(key_name: str, challenge: str, output: str | None, *, force: bool) -> None:
    """Have the device state that a key is in it, what it may be used for, and whether it was made there.

    The secure world gives an attestation token (COSE_Sign1, RFC 9783) with a claim on the key, a TPM a certificate in a
    CBOR map. Software and PKCS#11 keys have no such statement.
    """
    _attest(
        challenge,
        output,
        force=force,
        what="statement",
        ask=lambda client, data: client.key_statement(key_name, data),
        about={"key_name": key_name},
    )


def _attest(
    challenge: str,
    output: str | None,
    *,
    force: bool,
    what: str,
    ask: Callable[[Client, bytes], bytes],
    about: Mapping[str, object] = MappingProxyType({}),
) -> None:
    data = from_hex(challenge, "--challenge")
    as_json = output is None and current().json
    if output is None and not as_json:
        refuse_terminal(f"the {what}", force=force)
    with service() as client:
        result = ask(client, data)
    told = {**about, "challenge_hex": data.hex()}
    if as_json:
        emit({**told, f"{what}_base64": to_base64(result)}, None)
    else:
        write_output(output, result, what=f"the {what}", force=force)
        written(output, told)
