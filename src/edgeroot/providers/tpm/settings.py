"""What the configuration says of a TPM."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from edgeroot.psa import Secret

_TCTI: Final = re.compile(r"[a-z][a-z0-9-]*(:.*)?", re.DOTALL)
_NONE: Final = Secret()
_OWN_EMULATORS: Final = ("swtpm", "mssim")
_PLAIN_DEVICE: Final = re.compile(r"(.*/)?tpm[0-9]+")


@dataclass(frozen=True, slots=True)
class TpmSettings:
    """The keys of the ``[[provider]]`` table.

    The authorisations of the hierarchies are texts, or begin with ``str:`` (a text), ``hex:`` (bytes in hexadecimal),
    ``file:`` (a path) or ``credential:`` (the name of a systemd credential).
    """

    tcti: str = field(
        metadata={
            "meaning": "The way to the TPM as the TSS names it: `device:/dev/tpmrm0`, `tabrmd:…`, "
            "`swtpm:host=127.0.0.1,port=2321`, `mssim:…`."
        }
    )
    owner_hierarchy_auth: Secret = field(
        default=_NONE,
        metadata={
            "meaning": "Authorisation of the owner hierarchy. It is needed only where there is no persistent storage "
            "key."
        },
    )
    endorsement_hierarchy_auth: Secret = field(
        default=_NONE, metadata={"meaning": "Authorisation of the endorsement hierarchy, for attestation."}
    )
    skip_if_no_tpm: bool = field(
        default=False,
        metadata={
            "meaning": "Where there is no TPM, start without this provider, with a warning. A reload looks again."
        },
    )

    def __post_init__(self) -> None:
        if not _TCTI.fullmatch(self.tcti):
            raise ValueError(f'tcti must be a name such as "device:/dev/tpmrm0", not "{self.tcti}"')
        for name in ("owner_hierarchy_auth", "endorsement_hierarchy_auth"):
            try:
                parse_auth(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error

    @property
    def has_one_connection(self) -> bool:
        """Whether nothing stands between this process and the TPM that would let others use it meanwhile."""
        name, _, rest = self.tcti.partition(":")
        return name in _OWN_EMULATORS or (name == "device" and _PLAIN_DEVICE.fullmatch(rest) is not None)


@dataclass(frozen=True, slots=True)
class AuthSource:
    """An authorisation: its value, or the file or credential that has it."""

    value: Secret = _NONE
    file: str = ""
    credential: str = ""


def parse_auth(setting: Secret) -> AuthSource:
    """ValueError, without a word of the secret, for what is malformed."""
    try:
        text = bytes(setting).decode()
    except UnicodeDecodeError:
        raise ValueError("not a text") from None
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("str", "hex", "file", "credential"):
        return AuthSource(setting)
    if kind == "str":
        return AuthSource(Secret(rest.encode()))
    if kind == "hex":
        try:
            return AuthSource(Secret(bytes.fromhex(rest)))
        except ValueError:
            raise ValueError("what follows hex: is not hexadecimal") from None
    if kind == "file":
        if not rest.startswith("/"):
            raise ValueError("file: needs an absolute path")
        return AuthSource(file=rest)
    if not rest or "/" in rest:
        raise ValueError("credential: needs the name of a credential")
    return AuthSource(credential=rest)
