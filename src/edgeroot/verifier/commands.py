"""``edgeroot verifier``: judge what devices say of themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import read_input, write_output, written
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit, printable
from edgeroot.cli.web import post
from edgeroot.psa import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from edgeroot.evidence import SharedKey, TpmEvidence
    from edgeroot.verifier.corim import Endorsements
    from edgeroot.verifier.findings import Check
    from edgeroot.verifier.policy import Policy
    from edgeroot.verifier.store import SqliteStorage
    from edgeroot.verifier.verdict import Appraisal

SECTION = "Storage and attestation"
_STRICTEST: Final = "strictest"
_file = click.Path(path_type=Path, dir_okay=False)
_challenge = click.option("--challenge", required=True, metavar="HEX", help="The one that the device was given.")
_output = click.option("-o", "--output", metavar="FILE", help="Where it goes. Default: standard output.")
_store = click.option("--store", type=_file, required=True, help="The file in which the verifier remembers.")
_hours = click.FloatRange(min=0.1, max=10_000)
_event_log = click.option("--event-log", type=_file, help="What the boot says to have measured, with a quote.")
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
@click.option("--key", "key_path", type=_file, help="The device's attestation key, in PEM.")
@click.option("--symmetric-key", "shared_path", type=_file, help="Its shared attestation key instead, as a JWK.")
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
    key = None if key_path is None else _public_key(key_path)
    try:
        read = read_token(read_input(str(token)))
        if shared_path is not None:
            verify_mac0(read.message, _shared_key(shared_path).key)
        elif key is not None:
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
@click.argument("quote", type=_file)
@_challenge
@click.option("--kind", required=True, metavar="TEXT", help="Names the kind of device, the same for all of it.")
@click.option("--pcr", "pcrs", type=click.IntRange(0, 23), multiple=True, help="Which PCRs count. Default: 0 to 7.")
@_event_log
@click.option("--policy", "policy_path", type=_file, help="Says who asked for the quote: tpm_application.")
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

    policy, _policy_id = _policy(policy_path)
    evidence = _quote(quote, event_log)
    try:
        endorsements = endorsed(
            evidence,
            qualifying_data=qualifying_data(_hex(challenge), policy),
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
@click.argument("token", type=_file)
@_challenge
@click.option("--corim", "corims", type=_file, multiple=True, required=True, help="What is known. May be repeated.")
@click.option("--quote", "is_quote", is_flag=True, help="TOKEN is a TPM's quote.")
@_event_log
@click.option("--symmetric-key", "shared_paths", type=_file, multiple=True, help="A shared key (JWK). May be repeated.")
@click.option("--policy", "policy_path", type=_file, help="What is accepted. Default: the strictest.")
@click.option("--sign", "signer_path", type=_file, help="Sign the result, an EAR, with this P-256 key (PEM).")
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
    policy, policy_id = _policy(policy_path)
    nonce, known = _hex(challenge), _endorsements(corims)
    if is_quote:
        data = read_input(str(token)) if event_log is None else write_tpm_evidence(_quote(token, event_log))
        appraisal = appraise_quote(data, nonce=nonce, endorsements=known, policy=policy)
    else:
        data, shared = read_input(str(token)), _shared_keys(shared_paths)
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
@click.argument("policy_path", metavar="FILE", type=_file)
def check_policy(policy_path: Path) -> None:
    """Whether a policy is understood, and what it accepts."""
    policy, policy_id = _policy(policy_path)
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


@command(
    "serve",
    examples=[
        "edgeroot verifier serve --store fleet.db --sign key.pem",
        "edgeroot verifier serve --store fleet.db --sign key.pem --provisioning-token-file token",
        "edgeroot verifier serve --store fleet.db --sign key.pem --viewer-token-file look --seen-within 6",
    ],
)
@_store
@click.option("--sign", "signer_path", type=_file, required=True, help="Sign results with this P-256 key (PEM).")
@click.option("--policy", "policy_path", type=_file, help="What is accepted. Default: the strictest.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True, help="0: any free one.")
@click.option("--tls-certificate", "certificate", type=_file, help="Certificate chain in PEM.")
@click.option("--tls-key", "private_key", type=_file, help="The certificate's key in PEM.")
@click.option("--provisioning-token-file", "token_path", type=_file, help="Who has this token may hand in CoRIMs.")
@click.option("--viewer-token-file", "viewer_path", type=_file, help="Who has this token may look at the fleet.")
@click.option("--seen-within", type=_hours, default=24.0, show_default=True, help="Hours that a result counts for.")
@click.option("--keep-results", type=click.IntRange(1), default=1000, show_default=True, help="Of each device.")
@click.option("--corim-signer", "corim_signers", type=_file, multiple=True, help="Key (PEM) that may sign CoRIMs.")
@click.option("--rate", type=click.FloatRange(min=0.1), default=100.0, show_default=True, help="Requests per second.")
def serve(
    store: Path,
    signer_path: Path,
    policy_path: Path | None,
    host: str,
    port: int,
    certificate: Path | None,
    private_key: Path | None,
    token_path: Path | None,
    viewer_path: Path | None,
    seen_within: float,
    keep_results: int,
    corim_signers: tuple[Path, ...],
    rate: float,
) -> None:
    """Judge devices over HTTP, as Veraison's services do. Runs until it is told to end.

    Without a certificate it listens on this machine only; without a token nobody may hand in CoRIMs. The rate is for
    each address. The page about the fleet is at the address itself; without a viewer's token it is for this machine.
    """
    from edgeroot.verifier.errors import VerifierError

    try:
        from edgeroot.verifier.server import run
    except ImportError as error:
        raise CommandError("to serve takes further packages: pip install 'edgeroot[verifier]'") from error
    policy, policy_id = _policy(policy_path)
    try:
        settings = run.Settings(
            store=store,
            host=host,
            port=port,
            key=_private_key(signer_path),
            policy=policy,
            policy_id=policy_id,
            corim_signers=[_public_key(one) for one in corim_signers],
            certificate=certificate,
            private_key=private_key,
            provisioning_token=None if token_path is None else run.check_token(read_input(str(token_path))),
            viewer_token=None if viewer_path is None else run.check_token(read_input(str(viewer_path))),
            window_s=int(seen_within * 3600),
            keep_results=keep_results,
            rate_per_s=rate,
        )
        run.serve(settings, lambda url: emit({"listening": url}, f"listening on {url}"))
    except VerifierError as error:
        raise CommandError(str(error)) from error


@command(
    "submit",
    examples=["edgeroot verifier submit fleet.corim --url https://verifier.example:8443 --token-file token"],
)
@click.argument("corim", type=_file)
@click.option("--url", required=True, help="The verifier's address, as `verifier serve` prints it.")
@click.option("--token-file", "token_path", type=_file, required=True, help="The verifier's provisioning token.")
@click.option("--ca-file", "ca_path", type=_file, help="Who is believed about the verifier. Default: the system's.")
@click.option("--signed", is_flag=True, help="The CoRIM is signed.")
def submit(corim: Path, url: str, token_path: Path, ca_path: Path | None, *, signed: bool) -> None:
    """Hand a CoRIM in to a verifier, of ours or Veraison's."""
    from edgeroot.verifier import media_types

    token = Secret(read_input(str(token_path)).strip())
    media_type = media_types.SIGNED_CORIM[0] if signed else media_types.CORIM[0]
    headers = {
        "Content-Type": media_type,
        "Accept": media_types.PROVISIONING_SESSION,
        "Authorization": f"Bearer {bytes(token).decode('ascii', 'replace')}",
    }
    place = f"{url.rstrip('/')}/endorsement-provisioning/v1/submit"
    answer = post(place, read_input(str(corim)), headers, ca_path=ca_path).content
    if answer.get("status") != "success":
        why = printable(str(answer.get("failure-reason", "it does not say why")))
        raise CommandError(f"the verifier took nothing: {why}")
    emit({"status": "success"}, "the verifier took it in")


@command("revoke", examples=["edgeroot verifier revoke --store fleet.db device 01ab... --reason stolen"])
@_store
@click.argument("kind", type=click.Choice(["device", "measurement", "signer", "version"]))
@click.argument("name")
@click.option("--reason", required=True, help="Why, for those who read results.")
def revoke_command(store: Path, kind: str, name: str, reason: str) -> None:
    """Trust a device, a measurement, a signer (all in hexadecimal) or a component's version (TYPE=VERSION) no more.

    A signer is the key whose hash tokens name as the signer of their components: revoke it when it became known.

    A verifier that runs over the same store knows it with the next evidence.
    """
    from edgeroot.verifier.desk import revoke
    from edgeroot.verifier.ports import Revoked

    with _opened(store) as storage:
        revoke(storage, Revoked(kind), name, reason, now_s=int(time.time()))


@command("check-audit", examples=["edgeroot verifier check-audit --store fleet.db --noted $LINK"])
@_store
@click.option("--noted", metavar="HEX", help="A link that was there before, and must be there still.")
def check_audit(store: Path, noted: str | None) -> None:
    """Whether no line of the audit log was changed, dropped or moved. Prints the last link: note it elsewhere."""
    with _opened(store) as storage:
        count, last = storage.check_audit(None if noted is None else _hex(noted, "--noted"))
    emit({"lines": count, "link": last.hex()}, f"{count} lines, whole. The last link: {last.hex()}")


for _command in (endorse, endorse_quote, appraise, check_policy, serve, submit, revoke_command, check_audit):
    verifier.add_command(_command)


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

    key = _private_key(signer_path)
    if result_format == "cwt":
        return sign_ear_cwt(claims, key)
    try:
        return sign_ear(claims, key).encode() + b"\n"
    except ImportError as error:
        raise CommandError("to sign takes the package PyJWT: pip install 'edgeroot[verifier]'") from error


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


def _quote(path: Path, event_log: Path | None) -> TpmEvidence:
    """With the log, if one is given."""
    from edgeroot.evidence import EvidenceError, read_tpm_evidence

    try:
        evidence = read_tpm_evidence(read_input(str(path)))
    except EvidenceError as error:
        raise CommandError(f"{path}: {error}") from error
    return evidence if event_log is None else replace(evidence, event_log=read_input(str(event_log)))


def _shared_key(path: Path) -> SharedKey:
    from edgeroot.evidence import EvidenceError, read_shared_key

    try:
        return read_shared_key(read_input(str(path)))
    except EvidenceError as error:
        raise CommandError(f"{path}: {error}") from error


def _shared_keys(paths: tuple[Path, ...]) -> dict[bytes, SharedKey]:
    """By the instance ids of the devices that they belong to."""
    found: dict[bytes, SharedKey] = {}
    for path in paths:
        shared = _shared_key(path)
        if not shared.instance_id or not shared.implementation_id:
            raise CommandError(f"{path} does not say whose it is: add kid and psa_implementation_id, in hexadecimal")
        if shared.instance_id in found:
            raise CommandError(f"{path} is a second key for device {shared.instance_id.hex()}")
        found[shared.instance_id] = shared
    return found


@contextmanager
def _opened(path: Path) -> Iterator[SqliteStorage]:
    from edgeroot.verifier.errors import VerifierError
    from edgeroot.verifier.store import open_store

    try:
        with open_store(path) as storage:
            yield storage
    except VerifierError as error:
        raise CommandError(str(error)) from error


def _hex(text: str, option: str = "--challenge") -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise CommandError(f"{option} is not hexadecimal") from error


def _public_key(path: Path) -> ec.EllipticCurvePublicKey:
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


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
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
