"""How key types, curves, algorithms and usage flags are written on the command line.

The names are PSA's in lower case: ``rsa-pss:sha-256``, ``gcm``, ``hmac:sha-512``. Hyphens and underscores are the same
and may be left out, and PSA's own spelling (``RSA_PSS(SHA_256)``) is understood too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import click

from edgeroot.psa import Algorithm, DhFamily, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _ParamType: TypeAlias = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic in newer versions of click only

T = TypeVar("T")

CURVES: Final[dict[str, tuple[EccFamily, int]]] = {
    "p-192": (EccFamily.SECP_R1, 192),
    "p-224": (EccFamily.SECP_R1, 224),
    "p-256": (EccFamily.SECP_R1, 256),
    "p-384": (EccFamily.SECP_R1, 384),
    "p-521": (EccFamily.SECP_R1, 521),
    "secp192k1": (EccFamily.SECP_K1, 192),
    "secp224k1": (EccFamily.SECP_K1, 224),
    "secp256k1": (EccFamily.SECP_K1, 256),
    "brainpool-p256r1": (EccFamily.BRAINPOOL_P_R1, 256),
    "brainpool-p384r1": (EccFamily.BRAINPOOL_P_R1, 384),
    "brainpool-p512r1": (EccFamily.BRAINPOOL_P_R1, 512),
    "sect233k1": (EccFamily.SECT_K1, 233),
    "sect283k1": (EccFamily.SECT_K1, 283),
    "sect409k1": (EccFamily.SECT_K1, 409),
    "sect571k1": (EccFamily.SECT_K1, 571),
    "sect233r1": (EccFamily.SECT_R1, 233),
    "sect283r1": (EccFamily.SECT_R1, 283),
    "sect409r1": (EccFamily.SECT_R1, 409),
    "sect571r1": (EccFamily.SECT_R1, 571),
    "x25519": (EccFamily.MONTGOMERY, 255),
    "x448": (EccFamily.MONTGOMERY, 448),
}
_CURVE_ALIASES: Final = {"secp192r1": "p-192", "secp224r1": "p-224", "secp256r1": "p-256", "secp384r1": "p-384"} | {
    "secp521r1": "p-521",
    "prime256v1": "p-256",
}
HASHES: Final = {found.name.lower().replace("_", "-"): found for found in Hash if found is not Hash.ANY}
_PLAIN_ALGORITHMS: Final = {
    name.lower().replace("_", "-"): value
    for name, value in {
        "NONE": Algorithm.NONE,
        "CBC_MAC": Algorithm.CBC_MAC,
        "CMAC": Algorithm.CMAC,
        "STREAM_CIPHER": Algorithm.STREAM_CIPHER,
        "CTR": Algorithm.CTR,
        "CFB": Algorithm.CFB,
        "OFB": Algorithm.OFB,
        "XTS": Algorithm.XTS,
        "ECB_NO_PADDING": Algorithm.ECB_NO_PADDING,
        "CBC_NO_PADDING": Algorithm.CBC_NO_PADDING,
        "CBC_PKCS7": Algorithm.CBC_PKCS7,
        "CCM": Algorithm.CCM,
        "GCM": Algorithm.GCM,
        "CHACHA20_POLY1305": Algorithm.CHACHA20_POLY1305,
        "RSA_PKCS1V15_SIGN_RAW": Algorithm.RSA_PKCS1V15_SIGN_RAW,
        "ECDSA_ANY": Algorithm.ECDSA_ANY,
        "RSA_PKCS1V15_CRYPT": Algorithm.RSA_PKCS1V15_CRYPT,
        "FFDH": Algorithm.FFDH,
        "ECDH": Algorithm.ECDH,
    }.items()
}
_HASHED_ALGORITHMS: Final = {
    "hmac": Algorithm.hmac,
    "rsa-pkcs1v15-sign": Algorithm.rsa_pkcs1v15_sign,
    "rsa-pss": Algorithm.rsa_pss,
    "ecdsa": Algorithm.ecdsa,
    "deterministic-ecdsa": Algorithm.deterministic_ecdsa,
    "rsa-oaep": Algorithm.rsa_oaep,
    "hkdf": Algorithm.hkdf,
    "tls12-prf": Algorithm.tls12_prf,
    "tls12-psk-to-ms": Algorithm.tls12_psk_to_ms,
}
_PLAIN_TYPES: Final = {
    "raw-data": KeyType.RAW_DATA,
    "hmac": KeyType.HMAC,
    "derive": KeyType.DERIVE,
    "aes": KeyType.AES,
    "des": KeyType.DES,
    "camellia": KeyType.CAMELLIA,
    "arc4": KeyType.ARC4,
    "chacha20": KeyType.CHACHA20,
    "rsa-key-pair": KeyType.RSA_KEY_PAIR,
    "rsa-public-key": KeyType.RSA_PUBLIC_KEY,
}
_ECC_FAMILIES: Final = {family.name.lower().replace("_", "-"): family for family in EccFamily}
_DH_FAMILIES: Final = {family.name.lower(): family for family in DhFamily}
_USAGE: Final = {str(flag.name).lower().replace("_", "-"): flag for flag in UsageFlags}
_USAGE_GROUPS: Final = {
    "sign": UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE,
    "verify": UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE,
}
_CALL: Final = re.compile(r"^(?P<name>[^(:]+)(?:[(:](?P<argument>[^)]+)\)?)?$")


def _squeezed(text: str) -> str:
    return re.sub(r"[\s_-]", "", text).lower()


def _find(table: dict[str, T], text: str) -> T | None:
    wanted = _squeezed(text)
    return next((value for name, value in table.items() if _squeezed(name) == wanted), None)


def _split(text: str) -> tuple[str, str]:
    match = _CALL.match(text.strip().removeprefix("PSA_ALG_").removeprefix("PSA_KEY_TYPE_"))
    return (match["name"], match["argument"] or "") if match else (text, "")


def _one_of(names: Iterable[str]) -> str:
    return ", ".join(names)


def parse_hash(text: str) -> Hash:
    """ValueError names those that there are."""
    found = _find(HASHES, text)
    if found is None:
        raise ValueError(f"no hash is called {text!r}: choose one of {_one_of(HASHES)}")
    return found


def parse_curve(text: str) -> tuple[EccFamily, int]:
    """A curve's family and bits; ValueError names those that there are."""
    found = _find(CURVES, _CURVE_ALIASES.get(_squeezed(text), text))
    if found is None:
        raise ValueError(f"no curve is called {text!r}: choose one of {_one_of(CURVES)}")
    return found


def parse_algorithm(text: str) -> Algorithm:
    """``NAME``, ``NAME:HASH`` (``any`` for a policy that permits every hash), or a MAC or AEAD with ``/BYTES``."""
    text, slash, length = text.partition("/")
    name, argument = _split(text)
    family = _find(_HASHED_ALGORITHMS, name)
    if family is not None and argument:
        algorithm = family(Hash.ANY if argument.lower() == "any" else parse_hash(argument))
    elif (plain := _find(_PLAIN_ALGORITHMS, name)) is not None and not argument:
        algorithm = plain
    else:
        known = [*_PLAIN_ALGORITHMS, *(f"{hashed}:HASH" for hashed in _HASHED_ALGORITHMS)]
        raise ValueError(f"no algorithm is called {text!r}: choose one of {_one_of(known)}")
    if not slash:
        return algorithm
    if not length.isdecimal():
        raise ValueError(f"{length!r} is no length: write /16 for a tag or MAC of 16 bytes")
    return algorithm.truncated_mac(int(length)) if algorithm.is_mac else algorithm.with_tag_length(int(length))


def parse_key_type(text: str) -> KeyType:
    """``aes``, ``rsa-key-pair``, ``ecc-key-pair:secp-r1``, ``dh-key-pair:rfc7919`` and so on."""
    name, argument = _split(text)
    if not argument and (plain := _find(_PLAIN_TYPES, name)) is not None:
        return plain
    if (ecc := _find(_ECC_FAMILIES, argument)) is not None:
        both = {"ecc-key-pair": KeyType.ecc_key_pair(ecc), "ecc-public-key": KeyType.ecc_public_key(ecc)}
        if (found := _find(both, name)) is not None:
            return found
    if (dh := _find(_DH_FAMILIES, argument)) is not None:
        both = {"dh-key-pair": KeyType.dh_key_pair(dh), "dh-public-key": KeyType.dh_public_key(dh)}
        if (found := _find(both, name)) is not None:
            return found
    known = [*_PLAIN_TYPES, "ecc-key-pair:FAMILY", "ecc-public-key:FAMILY", "dh-key-pair:rfc7919"]
    families = _one_of(_ECC_FAMILIES)
    raise ValueError(f"no key type is called {text!r}: choose one of {_one_of(known)}; curve families are {families}")


def parse_usage(text: str) -> UsageFlags:
    """Flags separated by commas; ``sign`` and ``verify`` stand for hashes and messages."""
    usage = UsageFlags.NONE
    for name in filter(None, (part.strip() for part in text.split(","))):
        flag = _find(_USAGE_GROUPS | _USAGE, name)
        if flag is None:
            raise ValueError(f"no usage is called {name!r}: choose from {_one_of([*_USAGE_GROUPS, *_USAGE])}")
        usage |= flag
    return usage


def spell_algorithm(algorithm: Algorithm) -> str:
    """What :func:`parse_algorithm` reads, or PSA's number where there is no name."""
    base = algorithm
    suffix = ""
    if algorithm.is_mac and algorithm.mac_length_bytes:
        base, suffix = algorithm.full_length_mac, f"/{algorithm.mac_length_bytes}"
    elif algorithm.is_aead and algorithm.tag_length_bytes != algorithm.aead_default.tag_length_bytes:
        base, suffix = algorithm.aead_default, f"/{algorithm.tag_length_bytes}"
    for name, value in _PLAIN_ALGORITHMS.items():
        if value == base:
            return name + suffix
    if base.is_hash:
        return next((name for name, value in HASHES.items() if int(value) == base), f"{int(algorithm):#010x}")
    if base.hash is not None:
        for name, family in _HASHED_ALGORITHMS.items():
            if family(base.hash) == base:
                return f"{name}:{spell_hash(base.hash)}{suffix}"
    return f"{int(algorithm):#010x}"


def spell_hash(hash_alg: Hash) -> str:
    return hash_alg.name.lower().replace("_", "-")


def spell_key_type(key_type: KeyType) -> str:
    """What :func:`parse_key_type` reads, or PSA's number where there is no name."""
    name, argument = _split(repr(key_type).lower().replace("_", "-"))
    return (
        f"{name}:{argument}"
        if argument and not name.startswith("keytype")
        else (name if name in _PLAIN_TYPES else f"{int(key_type):#06x}")
    )


def spell_usage(usage: UsageFlags) -> list[str]:
    return [name for name, flag in _USAGE.items() if usage & flag]


def describe(attributes: KeyAttributes) -> dict[str, object]:
    """A key's attributes as the fields of a JSON object."""
    return {
        "key_type": spell_key_type(attributes.key_type),
        "key_bits": attributes.key_bits,
        "algorithm": spell_algorithm(attributes.algorithm),
        "usage": spell_usage(attributes.usage),
    }


class _Named(_ParamType):
    """A value that one of the functions above reads."""

    def __init__(self, name: str, examples: Iterable[str]) -> None:
        self.name = name
        self._examples = sorted(examples)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        if not isinstance(value, str):
            return value
        try:
            return _READERS[self.name](value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(example) for example in self._examples if example.startswith(incomplete)]


_READERS: Final = {
    "hash": parse_hash,
    "curve": parse_curve,
    "algorithm": parse_algorithm,
    "type": parse_key_type,
    "usage": parse_usage,
}
HASH: Final = _Named("hash", HASHES)
CURVE: Final = _Named("curve", CURVES)
ALGORITHM: Final = _Named("algorithm", [*_PLAIN_ALGORITHMS, *(f"{name}:sha-256" for name in _HASHED_ALGORITHMS)])
KEY_TYPE: Final = _Named("type", [*_PLAIN_TYPES, *(f"ecc-key-pair:{name}" for name in _ECC_FAMILIES)])
USAGE: Final = _Named("usage", [*_USAGE_GROUPS, *_USAGE])
