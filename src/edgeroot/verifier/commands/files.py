"""The verifier's commands over files: what is known, evidence, and policies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import read_input, write_output, written
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, printable
from edgeroot.verifier.commands.shared import (
    a_file,
    from_hex,
    read_endorsements,
    read_policy,
    read_private_key,
    read_public_key,
    read_quote,
    read_shared_key,
    read_shared_keys,
)

if TYPE_CHECKING:
    from edgeroot.verifier.findings import Check
    from edgeroot.verifier.verdict import Appraisal

_challenge = click.option("--challenge", required=True, metavar="HEX", help="The one that the device was given.")
_output = click.option("-o", "--output", metavar="FILE", help="Where it goes. Default: standard output.")
_event_log = click.option("--event-log", type=a_file, help="What the boot says to have measured, with a quote.")
_force = click.option("--force", is_flag=True, help="Replace FILE.")


@command(
    "endorse",
    examples=["edgeroot verifier endorse token.cbor --challenge $CHALLENGE --key device.pem -o device.corim"],
)
@click.argument("token", type=a_file)
@_challenge
@click.option("--key", "key_path", type=a_file, help="The device's attestation key, in PEM.")
@click.option("--symmetric-key", "shared_path", type=a_file, help="Its shared attestation key instead, as a JWK.")
@_output
@_force
def endorse(
    token: Path, challenge: str, key_path: Path | None, shared_path: Path | None, output: str | None, *, force: bool
) -> None:
    """Write down as good what a device runs now: its key, and each component with its signer. Writes a CoRIM.

    For a device that was just set up, where nobody is in between. Its key is what
    `edgeroot secure-world attestation-key` prints there. A shared key does not go into the CoRIM, which is no secret.
    """
    from edgeroot.evidence import AuthenticationError, EvidenceError, read_token, verify_mac0, verify_sign1
    from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, write_corim

    if (key_path is None) == (shared_path is None):
        raise CommandError("give either --key or --symmetric-key")
    key = None if key_path is None else read_public_key(key_path)
    try:
        read = read_token(read_input(str(token)))
        if shared_path is not None:
            verify_mac0(read.message, read_shared_key(shared_path).key)
        elif key is not None:
            verify_sign1(read.message, key)
    except (EvidenceError, AuthenticationError) as error:
        raise CommandError(f"{token}: {error}") from error
    claims = read.claims
    if claims.nonce != from_hex(challenge):
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
    endorsements = Endorsements(references={claims.implementation_id: components})
    if key is not None:
        known = VerificationKey(implementation_id=claims.implementation_id, instance_id=claims.instance_id, key=key)
        endorsements.keys[claims.instance_id] = known
    corim = write_corim(f"device {claims.instance_id.hex()}", endorsements)
    write_output(output, corim, what="the CoRIM", force=force)
    said = {"instance_id_hex": claims.instance_id.hex(), "implementation_id_hex": claims.implementation_id.hex()}
    written(output, {**said, "components": len(components)})


@command(
    "endorse-quote",
    examples=["edgeroot verifier endorse-quote quote.cbor --challenge $CHALLENGE --kind gateway-2 -o gateways.corim"],
)
@click.argument("quote", type=a_file)
@_challenge
@click.option("--kind", required=True, metavar="TEXT", help="Names the kind of device, the same for all of it.")
@click.option("--pcr", "pcrs", type=click.IntRange(0, 23), multiple=True, help="Which PCRs count. Default: 0 to 7.")
@_event_log
@click.option("--policy", "policy_path", type=a_file, help="Says who asked for the quote: tpm_application.")
@_output
@_force
def endorse_quote(
    quote: Path,
    challenge: str,
    kind: str,
    pcrs: tuple[int, ...],
    event_log: Path | None,
    policy_path: Path | None,
    output: str | None,
    *,
    force: bool,
) -> None:
    """Write down as good what a device with a TPM has booted now: PCRs, or with a log each event. Writes a CoRIM.

    For a device that was just set up; that the key is a genuine TPM's shows `tpm2_activatecredential` (docs/tpm.md).
    """
    from edgeroot.verifier.corim import write_corim
    from edgeroot.verifier.enrolment import endorse_quote as endorsed
    from edgeroot.verifier.errors import VerifierError
    from edgeroot.verifier.quote import qualifying_data

    policy, _policy_id = read_policy(policy_path)
    evidence = read_quote(quote, event_log)
    try:
        endorsements = endorsed(
            evidence,
            qualifying_data=qualifying_data(from_hex(challenge), policy),
            kind=kind.encode(),
            indices=sorted(pcrs or range(8)),
        )
        corim = write_corim(kind, endorsements)
    except VerifierError as error:
        raise CommandError(f"{quote}: {error}") from error
    write_output(output, corim, what="the CoRIM", force=force)
    references = sum(map(len, endorsements.references.values()))
    names = [name.hex() for name in endorsements.keys]
    written(output, {"attestation_key_hex": names[0], "reference_values": references})


@command(
    "appraise",
    examples=[
        "edgeroot verifier appraise token.cbor --challenge $CHALLENGE --corim fleet.corim",
        "edgeroot verifier appraise token.cbor --challenge $CHALLENGE --corim fleet.corim --sign key.pem -o result.jwt",
    ],
)
@click.argument("token", type=a_file)
@_challenge
@click.option("--corim", "corims", type=a_file, multiple=True, required=True, help="What is known. May be repeated.")
@click.option("--quote", "is_quote", is_flag=True, help="TOKEN is a TPM's quote.")
@_event_log
@click.option(
    "--symmetric-key", "shared_paths", type=a_file, multiple=True, help="A shared key (JWK). May be repeated."
)
@click.option("--policy", "policy_path", type=a_file, help="What is accepted. Default: the strictest.")
@click.option("--sign", "signer_path", type=a_file, help="Sign the result, an EAR, with this P-256 key (PEM).")
@click.option("--result-format", type=click.Choice(["jwt", "cwt"]), default="jwt", show_default=True, help="Of EARs.")
@_output
@_force
@click.pass_context
def appraise(
    context: click.Context,
    token: Path,
    challenge: str,
    corims: tuple[Path, ...],
    event_log: Path | None,
    shared_paths: tuple[Path, ...],
    policy_path: Path | None,
    signer_path: Path | None,
    result_format: str,
    output: str | None,
    *,
    is_quote: bool,
    force: bool,
) -> None:
    """Judge a device's attestation token, a key statement of its, or a quote of its TPM.

    Exit code 1 unless all is well (affirming).
    """
    from edgeroot.evidence import write_tpm_evidence
    from edgeroot.verifier.appraisal import appraise as judge
    from edgeroot.verifier.ear import PSA_SUBMODULE, TPM_SUBMODULE, ear_claims
    from edgeroot.verifier.quote import appraise_quote
    from edgeroot.verifier.trust import Status

    if result_format == "cwt" and signer_path is None:
        raise CommandError("a CWT is signed: give --sign too")
    if event_log is not None and not is_quote:
        raise CommandError("an event log comes with a quote: give --quote too")
    policy, policy_id = read_policy(policy_path)
    nonce, known = from_hex(challenge), read_endorsements(corims)
    if is_quote:
        data = read_input(str(token)) if event_log is None else write_tpm_evidence(read_quote(token, event_log))
        appraisal = appraise_quote(data, nonce=nonce, endorsements=known, policy=policy)
    else:
        data, shared = read_input(str(token)), read_shared_keys(shared_paths)
        appraisal = judge(data, nonce=nonce, endorsements=known, policy=policy, shared_keys=shared)
    submodule = TPM_SUBMODULE if is_quote else PSA_SUBMODULE
    claims = ear_claims(appraisal, issued_at_s=int(time.time()), nonce=nonce, policy_id=policy_id, submodule=submodule)
    if signer_path is not None:
        write_output(output, _signed(claims, signer_path, result_format), what="the result", force=force)
        written(output, {"status": appraisal.status.name.lower()})
    else:
        emit(claims, _told(appraisal))
    if appraisal.status is not Status.AFFIRMING:
        context.exit(1)


@command("check-policy", examples=["edgeroot verifier check-policy gateways.toml"])
@click.argument("policy_path", metavar="FILE", type=a_file)
def check_policy(policy_path: Path) -> None:
    """Whether a policy is understood, and what it accepts."""
    policy, policy_id = read_policy(policy_path)
    states = sorted(state.words for state in policy.lifecycles)
    told = {
        "policy_id": policy_id,
        "lifecycles": states,
        "client_ids": None if policy.client_ids is None else sorted(policy.client_ids),
        "legacy_profile": policy.legacy_profile,
        "extra_components": policy.extra_components,
        "mac_tokens": policy.mac_tokens,
        "unsigned_components": policy.unsigned_components,
        "least_versions": {name: str(version) for name, version in policy.least_versions.items()},
        "tpm_application": policy.tpm_application,
        "tpm_authenticator": policy.tpm_authenticator,
    }
    emit(told, "\n".join(f"{name}: {value}" for name, value in told.items()))


def _told(appraisal: Appraisal) -> str:
    lines = [f"{_mark(one)} {one.name}: {printable(one.words)}" for one in appraisal.checks]
    return "\n".join([*lines, f"verdict: {appraisal.status.name.lower()}"])


def _mark(check: Check) -> str:
    if check.passed:
        return "ok  "
    return "warn" if check.warning else "FAIL"


def _signed(claims: dict[str, Any], signer_path: Path, result_format: str) -> bytes:
    """A JWT as a line of text, or a CWT as it is."""
    from edgeroot.verifier.ear import sign_ear, sign_ear_cwt

    key = read_private_key(signer_path)
    if result_format == "cwt":
        return sign_ear_cwt(claims, key)
    try:
        return sign_ear(claims, key).encode() + b"\n"
    except ImportError as error:
        raise CommandError("to sign takes the package PyJWT: pip install 'edgeroot[verifier]'") from error
