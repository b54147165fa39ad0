"""The device's commands about an update that was installed: how it stands, and what is decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, listing, note
from edgeroot.update.commands.shared import (
    ca_option,
    command_errors,
    firmware_status,
    need_tuf,
    secure_world,
    socket_of,
    socket_option,
    state_folder,
    state_option,
)

if TYPE_CHECKING:
    from edgeroot.tee.psa import PsaClient

_AFFIRMING = {"affirming"}


@command(
    "accept",
    examples=[
        "edgeroot update accept --verifier https://verifier.example/",
        "edgeroot update accept --without-verdict",
    ],
)
@click.option("--verifier", metavar="URL", help="Accept only if this verifier affirms the device.")
@click.option("--without-verdict", is_flag=True, help="Accept without asking a verifier.")
@ca_option
@socket_option
def accept(verifier: str | None, *, without_verdict: bool, ca_path: Path | None, socket_path: Path | None) -> None:
    """Keep the firmware that is on trial, once it works: the one before it never boots again.

    Every partition has to answer, and the verifier to affirm what runs. To do without a verifier has to be said.
    """
    if (verifier is None) != without_verdict:
        raise click.UsageError("give either --verifier URL or --without-verdict: acceptance cannot be taken back")
    from edgeroot.update import device
    from edgeroot.update.health import check_health

    with command_errors("the secure world"), secure_world(socket_path) as psa:
        device.check_trial(psa)
        healthy = check_health(psa)
        statuses = {} if verifier is None else _verdict(psa, verifier, ca_path)
        device.accept(psa)
    said = ", ".join(f"{name} {status}" for name, status in sorted(statuses.items())) or "not asked"
    emit({"accepted": True, "healthy": list(healthy), "verdict": statuses}, f"accepted (the verifier: {said})")


@command("reject", examples=["edgeroot update reject"])
@socket_option
def reject(socket_path: Path | None) -> None:
    """Take back an update that waits for the restart or is on trial: the firmware before it comes back."""
    from edgeroot.update import device

    with command_errors("the secure world"), secure_world(socket_path) as psa:
        restart = device.reject(psa)
    after = "restart the secure world to run the firmware before it" if restart else "the device is as it was"
    emit({"rejected": True, "restart_needed": restart}, f"rejected: {after}")


@command("status", examples=["edgeroot update status", "edgeroot update status --json"])
@state_option
@socket_option
def status(state_path: Path | None, socket_path: Path | None) -> None:
    """Each component: its state, what runs, and what was offered when it was last looked (edgeroot update check)."""
    need_tuf()
    from edgeroot.abi.firmware import unpack_version
    from edgeroot.update.client import Client
    from edgeroot.update.device import components
    from edgeroot.update.releases import image_name

    state = state_folder(state_path)
    with command_errors(str(state)):
        client = Client(state)
        product = client.remembered().product
        releases = [release for release in client.seen() if release.product == product]
        with secure_world(socket_path) as psa:
            found = components(psa)
    shown = [
        {
            "component": image_name(one.location),
            "state": one.state.name,
            "version": unpack_version(one.version).short if one.version else None,
            "offered": [release.version.short for release in releases if one.location in release.images],
            "max_size": one.max_size,
        }
        for one in found
    ]
    trial = _trial(socket_of(socket_path))
    rows = [
        (str(one["component"]), str(one["state"]), str(one["version"] or "-"), _joined(one["offered"])) for one in shown
    ]
    plain = [f"{name}: {condition}, runs {version}, offered {offered}" for name, condition, version, offered in rows]
    listing({"components": shown, "trial": trial}, ("component", "state", "runs", "offered"), rows, plain)
    if trial is not None:
        note(f"on trial: boot {trial['boot']} of {trial['boots_at_most']}")


def _joined(versions: object) -> str:
    return ", ".join(versions) or "-" if isinstance(versions, list) else "-"


def _trial(path: Path) -> dict[str, Any] | None:
    """Which boot of a trial it is, of the manager's status; None if nothing is on trial, or it does not say."""
    firmware = firmware_status(path)
    if not firmware.get("on_trial"):
        return None
    return {"boot": firmware["trial_boots"], "boots_at_most": firmware["trial_boots_at_most"]}


def _verdict(psa: PsaClient, verifier: str, ca_path: Path | None) -> dict[str, str]:
    from edgeroot.cli.verdict import ask_verdict
    from edgeroot.update.device import agent_errors

    def attest(challenge: bytes) -> bytes:
        with agent_errors("attestation"):
            return psa.psa_initial_attest_get_token(challenge)

    _, statuses = ask_verdict(verifier, attest, ca_path)
    if set(statuses.values()) != _AFFIRMING:
        said = ", ".join(f"{name} {word}" for name, word in sorted(statuses.items())) or "nothing"
        raise CommandError(
            f"the verifier does not affirm this device ({said}), so it stays on trial: have the release endorsed there "
            "(its CoRIM), or take it back (edgeroot update reject)"
        )
    return statuses
