"""``edgeroot verifier``: judge what devices say of themselves."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import read_input, write_output, written
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from edgeroot.verifier.appraisal import Appraisal
    from edgeroot.verifier.corim import Endorsements
    from edgeroot.verifier.policy import Policy

SECTION = "Storage and attestation"
_STRICTEST: Final = "strictest"
_file = click.Path(path_type=Path, dir_okay=False)
_challenge = click.option("--challenge", required=True, metavar="HEX", help="The one that the device was given.")
_output = click.option("-o", "--output", metavar="FILE", help="Where it goes. Default: standard output.")
_force = click.option("--force", is_flag=True, help="Replace FILE.")


@click.group(
    "verifier",
    cls=FrameGroup,
    short_help="Judge what devices say of themselves.",
    examples=["edgeroot verifier appraise token.cbor --challenge $CHALLENGE --corim fleet.corim"],
)
def verifier() -> None:
    """The relying party's side of attestation. It needs no service and no device."""


@command(
    "endorse",
    examples=["edgeroot verifier endorse token.cbor --challenge $CHALLENGE --key device.pem -o device.corim"],
)
@click.argument("token", type=_file)
@_challenge
@click.option("--key", "key_path", type=_file, required=True, help="The device's attestation key, in PEM.")
@_output
@_force
def endorse(token: Path, challenge: str, key_path: Path, output: str | None, *, force: bool) -> None:
    """Write down as good what a device runs now: its key, and each component with its signer. Writes a CoRIM.

    For a device that was just set up, where nobody is in between. Its key is what
    `edgeroot secure-world attestation-key` prints there.
    """
    from edgeroot.evidence import AuthenticationError, EvidenceError, read_token, verify_sign1
    from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, write_corim

    key = _public_key(key_path)
    try:
        read = read_token(read_input(str(token)))
        verify_sign1(read.message, key)
    except (EvidenceError, AuthenticationError) as error:
        raise CommandError(f"{token}: {error}") from error
    claims = read.claims
    if claims.nonce != _hex(challenge):
        raise CommandError(f"{token} answers another challenge")
    components = {
        ReferenceValue(
            measurement=one.measurement, signer_id=one.signer_id, name=one.measurement_type, version=one.version
        )
        for one in claims.software_components
        if one.signer_id is not None
    }
    if len(components) != len(claims.software_components):
        raise CommandError(f"{token} does not say who signed its components: only tokens of RFC 9783 can be endorsed")
    known = VerificationKey(implementation_id=claims.implementation_id, instance_id=claims.instance_id, key=key)
    endorsements = Endorsements(keys={claims.instance_id: known}, references={claims.implementation_id: components})
    corim = write_corim(f"device {claims.instance_id.hex()}", endorsements)
    write_output(output, corim, what="the CoRIM", force=force)
    written(output, {"instance_id_hex": claims.instance_id.hex(), "components": len(components)})


@command(
    "appraise",
    examples=[
        "edgeroot verifier appraise token.cbor --challenge $CHALLENGE --corim fleet.corim",
        "edgeroot verifier appraise token.cbor --challenge $CHALLENGE --corim fleet.corim --sign key.pem -o result.jwt",
    ],
)
@click.argument("token", type=_file)
@_challenge
@click.option("--corim", "corims", type=_file, multiple=True, required=True, help="What is known. May be repeated.")
@click.option("--policy", "policy_path", type=_file, help="What is accepted. Default: the strictest.")
@click.option("--sign", "signer_path", type=_file, help="Sign the result with this P-256 key (PEM): EAR as a JWT.")
@_output
@_force
@click.pass_context
def appraise(
    context: click.Context,
    token: Path,
    challenge: str,
    corims: tuple[Path, ...],
    policy_path: Path | None,
    signer_path: Path | None,
    output: str | None,
    *,
    force: bool,
) -> None:
    """Judge a device's attestation token, or a key statement of its. Exit code 1 unless all is well (affirming)."""
    from edgeroot.verifier.appraisal import appraise as judge
    from edgeroot.verifier.ear import ear_claims, sign_ear
    from edgeroot.verifier.trust import Status

    policy, policy_id = _policy(policy_path)
    nonce = _hex(challenge)
    appraisal = judge(read_input(str(token)), nonce=nonce, endorsements=_endorsements(corims), policy=policy)
    claims = ear_claims(appraisal, issued_at_s=int(time.time()), nonce=nonce, policy_id=policy_id)
    if signer_path is not None:
        try:
            result = sign_ear(claims, _private_key(signer_path))
        except ImportError as error:
            raise CommandError("to sign takes the package PyJWT: pip install 'edgeroot[verifier]'") from error
        write_output(output, result.encode() + b"\n", what="the result", force=force)
        written(output, {"status": appraisal.status.name.lower()})
    else:
        emit(claims, _told(appraisal))
    if appraisal.status is not Status.AFFIRMING:
        context.exit(1)


@command("check-policy", examples=["edgeroot verifier check-policy gateways.toml"])
@click.argument("policy_path", metavar="FILE", type=_file)
def check_policy(policy_path: Path) -> None:
    """Whether a policy is understood, and what it accepts."""
    policy, policy_id = _policy(policy_path)
    states = sorted(state.name.lower().replace("_", "-") for state in policy.lifecycles)
    told = {
        "policy_id": policy_id,
        "lifecycles": states,
        "client_ids": None if policy.client_ids is None else sorted(policy.client_ids),
        "legacy_profile": policy.legacy_profile,
        "extra_components": policy.extra_components,
    }
    emit(told, "\n".join(f"{name}: {value}" for name, value in told.items()))


for _command in (endorse, appraise, check_policy):
    verifier.add_command(_command)


def _told(appraisal: Appraisal) -> str:
    lines = [f"{'ok  ' if one.passed else 'FAIL'} {one.name}: {printable(one.words)}" for one in appraisal.checks]
    return "\n".join([*lines, f"verdict: {appraisal.status.name.lower()}"])


def _policy(path: Path | None) -> tuple[Policy, str]:
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


def _endorsements(paths: tuple[Path, ...]) -> Endorsements:
    from edgeroot.verifier.corim import Endorsements, read_corim
    from edgeroot.verifier.errors import VerifierError

    together = Endorsements()
    for path in paths:
        try:
            together.add(read_corim(read_input(str(path))))
        except VerifierError as error:
            raise CommandError(f"{path}: {error}") from error
    return together


def _hex(challenge: str) -> bytes:
    try:
        return bytes.fromhex(challenge)
    except ValueError as error:
        raise CommandError("--challenge is not hexadecimal") from error


def _public_key(path: Path) -> ec.EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(read_input(str(path)))
    except ValueError as error:
        raise CommandError(f"{path} is no public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CommandError(f"{path} is no key on an elliptic curve, as attestation keys are")
    return key


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(read_input(str(path)), None)
    except (ValueError, TypeError) as error:
        raise CommandError(f"{path} is no private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise CommandError(f"{path} is no key on P-256")
    return key
