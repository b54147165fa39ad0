"""What the verifier's commands read: files of keys, policies, endorsements and evidence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import read_input

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from edgeroot.evidence import SharedKey, TpmEvidence
    from edgeroot.verifier.corim import Endorsements
    from edgeroot.verifier.policy import Policy
    from edgeroot.verifier.store import SqliteStorage

_STRICTEST: Final = "strictest"
a_file = click.Path(path_type=Path, dir_okay=False)


def read_policy(path: Path | None) -> tuple[Policy, str]:
    """The policy, and what names it: the hash of its text."""
    from edgeroot.verifier.errors import VerifierError
    from edgeroot.verifier.policy import Policy, parse_policy

    if path is None:
        return Policy(), _STRICTEST
    text = read_input(str(path))
    try:
        return parse_policy(text.decode()), f"sha-256:{sha256(text).hexdigest()}"
    except (VerifierError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error


def read_endorsements(paths: tuple[Path, ...]) -> Endorsements:
    from edgeroot.verifier.corim import Endorsements, read_corim
    from edgeroot.verifier.errors import VerifierError

    together = Endorsements()
    for path in paths:
        try:
            together.add(read_corim(read_input(str(path))))
        except VerifierError as error:
            raise CommandError(f"{path}: {error}") from error
    return together


def read_quote(path: Path, event_log: Path | None) -> TpmEvidence:
    """With the log, if one is given."""
    from edgeroot.evidence import EvidenceError, read_tpm_evidence

    try:
        evidence = read_tpm_evidence(read_input(str(path)))
    except EvidenceError as error:
        raise CommandError(f"{path}: {error}") from error
    return evidence if event_log is None else replace(evidence, event_log=read_input(str(event_log)))


def read_shared_key(path: Path) -> SharedKey:
    from edgeroot.evidence import EvidenceError, read_shared_key

    try:
        return read_shared_key(read_input(str(path)))
    except EvidenceError as error:
        raise CommandError(f"{path}: {error}") from error


def read_shared_keys(paths: tuple[Path, ...]) -> dict[bytes, SharedKey]:
    """By the instance ids of the devices that they belong to."""
    found: dict[bytes, SharedKey] = {}
    for path in paths:
        shared = read_shared_key(path)
        if not shared.instance_id or not shared.implementation_id:
            raise CommandError(f"{path} does not say whose it is: add kid and psa_implementation_id, in hexadecimal")
        if shared.instance_id in found:
            raise CommandError(f"{path} is a second key for device {shared.instance_id.hex()}")
        found[shared.instance_id] = shared
    return found


@contextmanager
def opened(path: Path) -> Iterator[SqliteStorage]:
    from edgeroot.verifier.errors import VerifierError
    from edgeroot.verifier.store import open_store

    try:
        with open_store(path) as storage:
            yield storage
    except VerifierError as error:
        raise CommandError(str(error)) from error


def from_hex(text: str, option: str = "--challenge") -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise CommandError(f"{option} is not hexadecimal") from error


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(read_input(str(path)))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CommandError(f"{path} is no public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CommandError(f"{path} is no key on an elliptic curve, as attestation keys are")
    return key


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(read_input(str(path)), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CommandError(f"{path} is no private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise CommandError(f"{path} is no key on P-256")
    return key
