"""Making, showing and destroying keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit, is_terminal, listing, note, printable
from edgeroot.client.commands import names
from edgeroot.client.commands.session import complete_key_name, key_name_option, service
from edgeroot.client.commands.storage import attest_key
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

SECTION = "Keys"
F = TypeVar("F", bound=Callable[..., Any])
_SIGN = UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE
_CRYPT = UsageFlags.ENCRYPT | UsageFlags.DECRYPT
_MAC = UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
_AES_MODES = ("gcm", "ccm", "ctr", "cbc-pkcs7", "cbc-no-padding", "cfb", "ofb", "ecb-no-padding", "xts", "cmac")
_CURVE_HASHES = ((256, Hash.SHA_256), (384, Hash.SHA_384))

exportable_option: Callable[[F], F] = click.option(
    "--exportable", is_flag=True, help="Permit export-key to read the key. Not possible later."
)


def create(key_name: str, attributes: KeyAttributes, *, exportable: bool = False) -> None:
    """Generate a key and say what it is."""
    if exportable:
        attributes = KeyAttributes(
            attributes.key_type, attributes.key_bits, attributes.usage | UsageFlags.EXPORT, attributes.algorithm
        )
    with service() as client:
        client.generate_key(key_name, attributes)
    note(f'Key "{printable(key_name)}" created.')
    emit({"key_name": key_name, **names.describe(attributes)}, None)


@command(
    "create-rsa-key",
    examples=[
        "edgeroot create-rsa-key -k mail                    # encrypts, PKCS#1 v1.5",
        "edgeroot create-rsa-key -k mail2 --oaep -b 3072    # encrypts, OAEP with SHA-256",
        "edgeroot create-rsa-key -k web --for-signing       # signs, PKCS#1 v1.5 with SHA-256",
        "edgeroot create-rsa-key -k web2 --for-signing-pss --hash sha-384",
    ],
)
@key_name_option("Name of the new key.")
@click.option("-s", "--for-signing", is_flag=True, help="A key for signatures, PKCS#1 v1.5.")
@click.option("-r", "--for-signing-pss", is_flag=True, help="A key for signatures, PSS.")
@click.option("-b", "--bits", type=click.IntRange(min=1), default=2048, show_default=True, help="Size of the key.")
@click.option("-o", "--oaep", is_flag=True, help="A key for encryption with OAEP instead of PKCS#1 v1.5.")
@click.option("--hash", "hash_alg", type=names.HASH, default="sha-256", show_default=True, help="Hash of the policy.")
@exportable_option
def create_rsa_key(
    key_name: str,
    *,
    for_signing: bool,
    for_signing_pss: bool,
    bits: int,
    oaep: bool,
    hash_alg: Hash,
    exportable: bool,
) -> None:
    """Make an RSA key pair: for encryption, or for signatures.

    With both -s and -r the key signs with PKCS#1 v1.5.
    """
    if oaep and (for_signing or for_signing_pss):
        raise click.UsageError("--oaep is for encryption: leave out --for-signing, or make two keys")
    if for_signing:
        usage, algorithm = _SIGN, Algorithm.rsa_pkcs1v15_sign(hash_alg)
    elif for_signing_pss:
        usage, algorithm = _SIGN, Algorithm.rsa_pss(hash_alg)
    else:
        usage, algorithm = _CRYPT, Algorithm.rsa_oaep(hash_alg) if oaep else Algorithm.RSA_PKCS1V15_CRYPT
    create(key_name, KeyAttributes(KeyType.RSA_KEY_PAIR, bits, usage, algorithm), exportable=exportable)


@command(
    "create-ecc-key",
    examples=[
        "edgeroot create-ecc-key -k device                        # ECDSA, P-256, SHA-256",
        "edgeroot create-ecc-key -k ca --curve p-384",
        "edgeroot create-ecc-key -k agreement --curve x25519      # for edgeroot agree",
    ],
)
@key_name_option("Name of the new key.")
@click.option("--curve", type=names.CURVE, default="p-256", show_default=True, help="The curve.")
@click.option("--hash", "hash_alg", type=names.HASH, help="Hash of the policy. Default: the one that fits the curve.")
@click.option("--deterministic", is_flag=True, help="Signatures without random numbers (RFC 6979).")
@click.option("--for-agreement", is_flag=True, help="A key for ECDH instead of signatures.")
@exportable_option
def create_ecc_key(
    key_name: str,
    curve: tuple[EccFamily, int],
    hash_alg: Hash | None,
    *,
    deterministic: bool,
    for_agreement: bool,
    exportable: bool,
) -> None:
    """Make a key pair on an elliptic curve, for ECDSA signatures or for key agreement."""
    family, bits = curve
    if for_agreement or family is EccFamily.MONTGOMERY:
        if deterministic or hash_alg is not None:
            raise click.UsageError("a key for agreement has neither --hash nor --deterministic")
        usage, algorithm = UsageFlags.DERIVE, Algorithm.ECDH
    else:
        usage = _SIGN
        chosen = hash_alg or curve_hash(bits)
        algorithm = Algorithm.deterministic_ecdsa(chosen) if deterministic else Algorithm.ecdsa(chosen)
    create(key_name, KeyAttributes(KeyType.ecc_key_pair(family), bits, usage, algorithm), exportable=exportable)


def curve_hash(bits: int) -> Hash:
    """The hash that goes with a curve of this size (SP 800-57 part 1, table 3)."""
    return next((hash_alg for most, hash_alg in _CURVE_HASHES if bits <= most), Hash.SHA_512)


@command(
    "create-aes-key",
    examples=[
        "edgeroot create-aes-key -k files                    # AES-256-GCM, for encrypt-file",
        "edgeroot create-aes-key -k disk -b 128 --mode ctr   # for cipher-encrypt",
    ],
)
@key_name_option("Name of the new key.")
@click.option(
    "-b", "--bits", type=click.Choice(["128", "192", "256"]), default="256", show_default=True, help="Size of the key."
)
@click.option(
    "--mode", type=click.Choice(_AES_MODES), default="gcm", show_default=True, help="The only algorithm permitted."
)
@exportable_option
def create_aes_key(key_name: str, bits: str, mode: str, *, exportable: bool) -> None:
    """Make an AES key for authenticated encryption, a cipher mode, or CMAC."""
    algorithm = names.parse_algorithm(mode)
    usage = _MAC if algorithm.is_mac else _CRYPT
    create(key_name, KeyAttributes(KeyType.AES, int(bits), usage, algorithm), exportable=exportable)


@command(
    "create-hmac-key",
    examples=["edgeroot create-hmac-key -k tokens", "edgeroot create-hmac-key -k tokens512 --hash sha-512"],
)
@key_name_option("Name of the new key.")
@click.option("--hash", "hash_alg", type=names.HASH, default="sha-256", show_default=True, help="The hash.")
@click.option("-b", "--bits", type=click.IntRange(min=8), help="Size of the key. Default: as long as the hash.")
@exportable_option
def create_hmac_key(key_name: str, hash_alg: Hash, bits: int | None, *, exportable: bool) -> None:
    """Make an HMAC key."""
    size = hash_alg.length_bytes * 8 if bits is None else bits
    create(key_name, KeyAttributes(KeyType.HMAC, size, _MAC, Algorithm.hmac(hash_alg)), exportable=exportable)


@command(
    "create-key",
    examples=[
        "edgeroot create-key -k any --type ecc-key-pair:secp-r1 -b 256 --alg ecdsa:any --usage sign,verify",
        "edgeroot create-key -k stream --type chacha20 -b 256 --alg chacha20-poly1305 --usage encrypt,decrypt",
        "edgeroot create-key -k short --type aes -b 128 --alg ccm/8 --usage encrypt,decrypt",
    ],
)
@key_name_option("Name of the new key.")
@click.option("--type", "key_type", type=names.KEY_TYPE, required=True, metavar="TYPE", help="PSA key type.")
@click.option("-b", "--bits", type=click.IntRange(min=1), required=True, metavar="BITS", help="Size of the key.")
@click.option("--alg", type=names.ALGORITHM, required=True, metavar="ALG", help="PSA algorithm that is permitted.")
@click.option("--usage", type=names.USAGE, required=True, metavar="FLAGS", help="PSA usage flags, with commas.")
def create_key(key_name: str, key_type: KeyType, bits: int, alg: Algorithm, usage: UsageFlags) -> None:
    """Make a key of any kind that PSA can express.

    Types, algorithms and flags have PSA's names: rsa-key-pair, rsa-pss:sha-256, sign-hash. An algorithm's hash stands
    behind a colon ('any' permits all), the length of a tag or MAC behind a slash. A wrong name lists the right ones.
    """
    create(key_name, KeyAttributes(key_type, bits, usage, alg))


@command("list-keys", examples=["edgeroot list-keys", "edgeroot list-keys --json | jq -r '.keys[].key_name'"])
def list_keys() -> None:
    """List this user's keys in all providers."""
    from edgeroot.client.commands.upstream_names import algorithm_debug, key_type_debug, provider_name

    with service() as client:
        keys = client.list_keys()
    if not keys:
        note("No keys currently available.")
        if is_terminal():
            return
    listing(
        {
            "keys": [
                {"key_name": key.name, "provider_id": key.provider_id, **names.describe(key.attributes)} for key in keys
            ]
        },
        ("Name", "Provider", "Type", "Bits", "Algorithm", "Usage"),
        [
            (
                key.name,
                provider_name(key.provider_id),
                names.spell_key_type(key.attributes.key_type),
                str(key.attributes.key_bits),
                names.spell_algorithm(key.attributes.algorithm),
                " ".join(names.spell_usage(key.attributes.usage)),
            )
            for key in keys
        ],
        [
            f"* {key.name} ({provider_name(key.provider_id)}, {key_type_debug(key.attributes.key_type)}, "
            f"{key.attributes.key_bits} bits, permitted algorithm: {algorithm_debug(key.attributes.algorithm)})"
            for key in keys
        ],
    )


@command("delete-key", examples=["edgeroot delete-key -k device"])
@key_name_option()
def delete_key(key_name: str) -> None:
    """Destroy a key. It cannot be had back."""
    with service() as client:
        client.destroy_key(key_name)
    note(f'Key "{printable(key_name)}" deleted.')
    emit({"deleted_key": key_name}, None)


@command("show", examples=["edgeroot key show device", "edgeroot key show device --json"])
@click.argument("key_name", metavar="NAME", shell_complete=complete_key_name)
def show(key_name: str) -> None:
    """Show what a key is and what it may be used for."""
    with service() as client:
        provider_id = client.provider_id()
        attributes = client.key_attributes(key_name)
    fields = {"key_name": key_name, "provider_id": provider_id, **names.describe(attributes)}
    emit(
        fields,
        "\n".join(
            f"{name.replace('_', ' ')}: {' '.join(value) if isinstance(value, list) else printable(str(value))}"
            for name, value in fields.items()
        ),
    )


@click.group("key", cls=FrameGroup, no_args_is_help=False, examples=["edgeroot key show device", "edgeroot key list"])
def key() -> None:
    """Commands about one key under a common name: show, list, create, delete, attest."""


for _alias, _command in {"list": list_keys, "delete": delete_key, "create": create_key}.items():
    key.add_command(_command, _alias)
key.add_command(show)
key.add_command(attest_key)
