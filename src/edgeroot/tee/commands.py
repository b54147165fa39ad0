"""``edgeroot secure-world``: run the emulated secure world, and look at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit, is_terminal, listing, note
from edgeroot.tee.places import WorldPlaces, choose_world, world_socket

SECTION = "Run the service"
# The secure world is started as a process, and imported by nobody.
_MANAGER: Final = "edgeroot.secure.spm"
_BRIDGE: Final = "edgeroot.secure.bridge"
# What stands before a point on P-256 in its SubjectPublicKeyInfo (RFC 5480, clause 2).
_P256_PUBLIC_KEY: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_UEID_RAND: Final = b"\1"  # RFC 9783, clause 4.2.1
_NO_PLACE: Final = "XDG_RUNTIME_DIR is not set: say with --runtime where the socket is to be"
_socket = click.option(
    "--world-socket",
    "socket_path",
    type=click.Path(path_type=Path),
    help="The manager's socket. Default: EDGEROOT_SECURE_WORLD, else the usual place.",
)


@click.group(
    "secure-world",
    cls=FrameGroup,
    short_help="Run the emulated secure world, and look at it.",
    examples=["edgeroot secure-world run", "edgeroot secure-world status"],
)
def secure_world() -> None:
    """The emulated secure world: Trusted Services in isolated processes.

    On Arm hardware the real one is in the firmware, and none of this is needed.
    """


@command(
    "run",
    examples=["sudo edgeroot secure-world run --allow parsec", "edgeroot secure-world run --strict"],
)
@click.option("--state", "state_path", type=click.Path(path_type=Path), help="The folder of secrets and objects.")
@click.option("--runtime", "runtime_path", type=click.Path(path_type=Path), help="The folder of the socket and log.")
@click.option(
    "--allow", multiple=True, metavar="USER", help="List a user, by name or number, who may call from now on."
)
@click.option("--tpm", metavar="TCTI", help="The device secret is sealed to this TPM, such as device:/dev/tpmrm0.")
@click.option("--pcrs", default="", metavar="0,7", help="A new device secret also to what these registers hold.")
@click.option("--accept-older-state", is_flag=True, help="Once: take what is stored, though the TPM says it is older.")
@click.option(
    "--secure-element",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The crypto partition's secure element, described in TOML.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Run the partitions from signed images only (edgeroot device build-images).",
)
@click.option("--strict", is_flag=True, help="Refuse to start if any measure of isolation is not in force.")
def run(
    state_path: Path | None,
    runtime_path: Path | None,
    allow: tuple[str, ...],
    tpm: str | None,
    pcrs: str,
    *,
    accept_older_state: bool,
    secure_element: Path | None,
    images: Path | None,
    strict: bool,
) -> None:
    """Run the secure world in the foreground, until SIGTERM or SIGINT.

    As root each partition has a user of its own. Without root they are processes of yours, and only users that you list
    (by default you yourself) may call them.
    """
    places = _places(state_path, runtime_path)
    users = allow or (() if os.geteuid() == 0 else (str(os.geteuid()),))
    arguments = [sys.executable, "-I", "-m", _MANAGER, "--state", str(places.state), "--runtime", str(places.runtime)]
    arguments += [part for user in users for part in ("--allow", user)]
    if tpm is not None:
        arguments += ["--tpm", tpm]
    if pcrs:
        arguments += ["--pcrs", pcrs]
    if accept_older_state:
        arguments.append("--accept-older-state")
    if secure_element is not None:
        arguments += ["--secure-element", str(secure_element.absolute())]
    if images is not None:
        arguments += ["--images", str(images.absolute())]
    if strict:
        arguments.append("--strict")
    os.execv(sys.executable, arguments)


@command("status", examples=["edgeroot secure-world status", "edgeroot secure-world status --json"])
@_socket
def status(socket_path: Path | None) -> None:
    """How the secure world is: its partitions, its users, and what of the isolation is not in force."""
    found = _status(socket_path)
    lines = [f"emulated secure world, up {timedelta(seconds=round(found['manager']['uptime_s']))}"]
    lines += [
        f"{partition['name']}: {partition['state']}, restarted {partition['restarts']} times"
        + (f" (the last time it {partition['last_end']})" if partition.get("last_end") else "")
        for partition in found["partitions"]
    ]
    lines.append(_firmware(found.get("firmware")))
    users = ", ".join(f"{user['uid']} (FF-A id {user['id']})" for user in found["users"])
    lines.append(f"users: {users or 'none; list one with `edgeroot secure-world run --allow USER`'}")
    lines += [f"not in force: {measure}" for measure in found["not_in_force"]]
    emit(found, "\n".join(lines))


def _firmware(found: dict[str, Any] | None) -> str:
    """Where the firmware comes from, in a line."""
    if found is None:
        return "firmware: what is installed, and nothing of it was verified"
    place = "a folder of images" if found["bank"] is None else f"bank {found['bank']}"
    trial = ""
    if found["on_trial"]:
        trial = (
            f", on trial (boot {found['trial_boots']} of {found['trial_boots_at_most']}): "
            "`edgeroot update accept` or `edgeroot update reject`"
        )
    return f"firmware: verified, from {place}; the device is {found['lifecycle']}{trial}"


@command("partitions", examples=["edgeroot secure-world partitions"])
@_socket
def partitions(socket_path: Path | None) -> None:
    """The partitions: FF-A id, state, process, user, execution contexts, services."""
    found = _status(socket_path)["partitions"]
    columns = ("partition", "id", "state", "process", "user", "contexts", "restarts", "services")
    rows = [_row(partition) for partition in found]
    listing({"partitions": found}, columns, rows, [" ".join(row) for row in rows])


@command("log", examples=["edgeroot secure-world log", "edgeroot secure-world log --lines 100"])
@click.option("--runtime", "runtime_path", type=click.Path(path_type=Path), help="The folder of the socket and log.")
@click.option("--lines", type=click.IntRange(min=1), default=50, show_default=True, help="How many lines.")
def log(runtime_path: Path | None, lines: int) -> None:
    """What the manager and the partitions have said lately."""
    path = _places(Path("/"), runtime_path).log
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}. Does a secure world run there?") from error
    last = text.splitlines()[-lines:]
    emit({"log": str(path), "lines": last}, "\n".join(last))


@command("attestation-key", examples=["edgeroot secure-world attestation-key > device.pem"])
@_socket
def attestation_key(socket_path: Path | None) -> None:
    """The public key that signs attestation tokens and key statements here: for whoever is to verify them.

    Take it down where nobody is in between, when the device is set up. It is made when it is first asked for, and the
    device's instance id follows from it.
    """
    point = _attestation_point(_path(socket_path))
    pem = _pem(_P256_PUBLIC_KEY + point)
    instance_id = (_UEID_RAND + sha256(point).digest()).hex()
    emit({"attestation_key_pem": pem, "instance_id_hex": instance_id}, pem.rstrip())
    if is_terminal():
        note(f"instance id: {instance_id}")


@command("bridge", examples=["edgeroot secure-world bridge --build libteebridge.so"])
@click.option(
    "--build", "target", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Compile to here."
)
def bridge(target: Path) -> None:
    """Compile the library that shows the emulated world to programs written for Linux's TSTEE driver.

    Preload it (LD_PRELOAD) into an unmodified program: what the program opens as /dev/tee0 and so on are then the
    partitions of the emulated world that EDGEROOT_SECURE_WORLD names.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-m", _BRIDGE, str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(done.stderr.strip())
    built = done.stdout.strip()
    emit({"library": built}, built)
    if is_terminal():
        note(f"LD_PRELOAD={built} program...")


for _command in (run, status, partitions, log, attestation_key, bridge):
    secure_world.add_command(_command)


def _places(state_path: Path | None, runtime_path: Path | None) -> WorldPlaces:
    chosen = choose_world(os.environ, is_root=os.geteuid() == 0)
    if chosen is None:
        if runtime_path is None:
            raise CommandError(_NO_PLACE)
        chosen = WorldPlaces(Path("edgeroot-secure-world"), runtime_path)
    return WorldPlaces((state_path or chosen.state).absolute(), (runtime_path or chosen.runtime).absolute())


def _status(socket_path: Path | None) -> Any:  # noqa: ANN401 - what JSON gives
    from edgeroot.tee.api import TeeError
    from edgeroot.tee.transports.emulated import ManagerConnection

    try:
        connection = ManagerConnection(_path(socket_path))
        try:
            return json.loads(connection.status())
        finally:
            connection.close()
    except TeeError as error:
        raise CommandError(f"{error}. Start one: edgeroot secure-world run") from error


def _path(socket_path: Path | None) -> Path:
    return socket_path or world_socket(os.environ, is_root=os.geteuid() == 0)


def _attestation_point(path: Path) -> bytes:
    from edgeroot.abi.attestation import OPERATIONS, AttestationOpcode, ExportIakRequest
    from edgeroot.abi.rpc_status import RpcError
    from edgeroot.abi.services import ATTESTATION
    from edgeroot.tee.api import TeeError
    from edgeroot.tee.transports.emulated import EmulatedTransport

    operation = OPERATIONS[AttestationOpcode.EXPORT_IAK_PUBLIC_KEY]
    try:
        with EmulatedTransport(path) as transport, transport.open_session(ATTESTATION) as session:
            status, response = session.call(operation.opcode, operation.request.encode(ExportIakRequest()))
        if status:
            raise CommandError(f"the attestation service refuses: status {status}")
        point: bytes = operation.response.decode(response).public_key
    except (TeeError, RpcError) as error:
        raise CommandError(f"{error}. Does a secure world run, and may this user call it?") from error
    return point


def _pem(subject_public_key_info: bytes) -> str:
    lines = wrap(b64encode(subject_public_key_info).decode(), 64)
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def _row(partition: dict[str, Any]) -> tuple[str, ...]:
    return (
        partition["name"],
        f"{partition['id']:#06x}",
        partition["state"],
        str(partition["pid"] or "-"),
        "-" if partition["user"] is None else str(partition["user"]),
        str(partition["execution_contexts"]),
        str(partition["restarts"]),
        ",".join(partition["services"]),
    )
