"""Runs the partition manager: the installed one, or the one of a verified image that the first stage has become."""

from __future__ import annotations

import argparse
import logging
import os
import pwd
import socket
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Final

from edgeroot.abi.emulation import memory_slots
from edgeroot.abi.mcuboot import ImageError
from edgeroot.confinement import process
from edgeroot.element.settings import ElementSettings
from edgeroot.psa import Lifecycle
from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.tpm import TpmPlace, parse_pcrs
from edgeroot.sealing.tpm_counter import TpmCounter
from edgeroot.secure.boot.errors import BootError
from edgeroot.secure.platform.anchor import Anchor, AnchorError
from edgeroot.secure.platform.device_secret import DeviceSecretError, FileDeviceSecret
from edgeroot.secure.platform.files import FileLock, LockedError
from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError
from edgeroot.secure.spm import sandbox
from edgeroot.secure.spm.keeper import AnchorKeeper
from edgeroot.secure.spm.launch import Launcher
from edgeroot.secure.spm.log import Log
from edgeroot.secure.spm.manager import Manager
from edgeroot.secure.spm.manifest import ManifestError, built_in_manifests
from edgeroot.secure.spm.state import State, StateError
from edgeroot.secure.spm.users import UserTableError
from edgeroot.secure.stage.device_fuses import read_fuses
from edgeroot.secure.stage.places import LOCK, ONE_TIME_MEMORY

_log: Final = logging.getLogger(__name__)
_BOOT_SEED_BYTES: Final = 32


class CannotStartError(Exception):
    """The secure world does not start; the message says why and what to do."""


def main(arguments: Sequence[str], *, is_verified: bool = True) -> int:
    """Run; the exit code. ``is_verified``: this is the manager of an image, and not what is installed."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s secure-world: %(message)s", stream=sys.stderr)
    try:
        if not is_verified:
            _check_unverified(options)
        return _run(options)
    except (
        CannotStartError,
        StateError,
        ManifestError,
        UserTableError,
        DeviceSecretError,
        AnchorError,
        SealingError,
        LockedError,
        BootError,
        ImageError,
        OneTimeMemoryError,
    ) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    # No abbreviations: the first stage reads the same arguments, and knows none.
    parser = argparse.ArgumentParser("python -m edgeroot.secure.spm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--state", type=Path, required=True, help="the folder of keys, secrets and counters")
    parser.add_argument("--runtime", type=Path, required=True, help="the folder of the socket and the log")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="USER", help="list this user, by name or number"
    )
    parser.add_argument("--tpm", metavar="TCTI", help="the device secret is sealed to this TPM (device:/dev/tpmrm0)")
    parser.add_argument("--pcrs", default="", metavar="0,7", help="a new one also to what these registers hold")
    parser.add_argument(
        "--accept-older-state", action="store_true", help="once: take what is stored, though the TPM says it is older"
    )
    parser.add_argument(
        "--secure-element", type=Path, metavar="FILE", help="the crypto partition's secure element, described in TOML"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="run the partitions from signed images only, one DIR/PARTITION.img each",
    )
    parser.add_argument("--failed-bank", type=int, action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--handover", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--strict", action="store_true", help="refuse to start without every measure of isolation")
    parser.add_argument(
        "--owner-fd", type=int, help="a socket: say there when all partitions run, and end when its other end is closed"
    )
    return parser


def _check_unverified(options: argparse.Namespace) -> None:
    """Whatever the first stage took these arguments for, what is installed does not run on a secured device."""
    if options.handover is not None:
        raise CannotStartError("--handover is what the first stage says to a verified manager, and this is none")
    fuses = read_fuses(options.state / ONE_TIME_MEMORY)
    if fuses is not None and fuses.lifecycle() >= Lifecycle.SECURED:
        raise CannotStartError("the device is secured and runs signed images only, and this manager is none")


def _check_reachable(state: State, *, is_verified: bool) -> None:
    """As root, partitions have users of their own, whom nobody may keep from their code and their folders."""
    if os.geteuid() != 0:
        return
    for what, paths, remedy in (
        ("edgeroot", sandbox.readable(sys.executable, verified=is_verified), "install it where everybody may read it"),
        ("the state", (str(state.path / "partitions"),), "choose another folder with --state"),
    ):
        folder = sandbox.hidden(paths)
        if folder is not None:
            raise CannotStartError(
                f"{what} lies in {folder}, which the partitions' users may not enter: {remedy}, such as below /opt"
                " or /var/lib, or start the secure world as another user than root"
            )


def _run(options: argparse.Namespace) -> int:
    notify = os.environ.pop("NOTIFY_SOCKET", None)
    missing = process.protect_process()
    missing += [finding.sentence for finding in sandbox.probe() if not finding.in_force]
    for sentence in missing:
        _log.warning("%s", sentence)
    if options.images is not None and options.secure_element is not None:
        raise CannotStartError("--images have no driver for a secure element: leave out one of the two options")
    if options.strict and missing:
        raise CannotStartError("--strict was given, and not every measure of isolation is in force here")
    process.name_process("edgeroot-spm")
    process.raise_descriptor_limit()  # it holds a descriptor of each shared region
    state = State(options.state.absolute(), options.runtime.absolute())
    state.prepare()
    lock = FileLock.acquire(state.path / LOCK)
    cores = len(os.sched_getaffinity(0))
    manifests = [replace(one, memory_slots=max(one.memory_slots, memory_slots(cores))) for one in built_in_manifests()]
    verified = firmware = None
    if options.handover is not None:
        # Here, as their imports would make every other start slower.
        from edgeroot.secure.spm.images import BootedFirmware, begin_anew, boot, read_handover

        handover = read_handover(options.handover)
        try:
            verified = boot(handover, state, manifests)
            firmware = BootedFirmware(state, verified)
        except ImageError as error:
            if handover.bank is None:
                raise
            _log.warning("%s; trying the other bank", error)
            lock.release()
            begin_anew(handover)
    users = state.users()
    for name in options.allow:
        users = users.allow(_user_id(name))
    state.keep_users(users)
    place = _tpm_place(options)
    secret = FileDeviceSecret.open(state.device_secret, place=place)
    keeper = None
    if place is not None:
        anchor = Anchor(state.anchor, TpmCounter(place.tcti), secret.derive(b"anchor"))
        keeper = AnchorKeeper(anchor, state.path / "counters" / "storage" / "storage", monotonic)
        keeper.start(accept=options.accept_older_state)
    element = None if options.secure_element is None else _element(options.secure_element)
    _check_reachable(state, is_verified=verified is not None)
    launcher = Launcher(
        state,
        derive=secret.derive,
        boot_seed=os.urandom(_BOOT_SEED_BYTES),
        event_log=b"" if verified is None else verified.event_log,
        cores=cores,
        element=element,
        inspectors=(one.id for one in manifests if one.inspects_keys),
        verified=verified,
    )

    def when_ready() -> None:
        if firmware is not None:
            firmware.settle()
        _log.info("the secure world is ready at %s", state.socket)
        if owner is not None:
            owner.send(b"ready\n")
        if notify is not None:
            _notify(notify)

    owner = None if options.owner_fd is None else socket.socket(fileno=options.owner_fd)
    manager = Manager(
        manifests,
        listener=_bind(state.socket),
        launcher=launcher,
        users=state.users,
        log=Log(state.log),
        measures=missing,
        when_ready=when_ready,
        owner=owner,
        keeper=keeper,
        firmware=firmware,
    )
    try:
        return manager.run()
    finally:
        state.socket.unlink(missing_ok=True)
        lock.release()


def _bind(path: Path) -> socket.socket:
    """The manager's socket, open to every user: who may do what is decided by the table of users."""
    path.unlink(missing_ok=True)  # of a manager that was killed: the lock says that none runs
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    path.chmod(0o666)
    return listener


def _tpm_place(options: argparse.Namespace) -> TpmPlace | None:
    if options.tpm is None:
        if options.pcrs:
            raise CannotStartError("--pcrs are of a TPM: say with --tpm of which")
        return None
    try:
        return TpmPlace(options.tpm, parse_pcrs(options.pcrs))
    except ValueError as error:
        raise CannotStartError(f"--pcrs: {error}") from error


def _element(path: Path) -> ElementSettings:
    if find_spec("cryptoauthlib") is None:
        raise CannotStartError("the package cryptoauthlib is missing: pip install 'edgeroot[secure-element]'")
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return ElementSettings(**found)
    except (OSError, ValueError, TypeError) as error:
        raise CannotStartError(f"--secure-element: {path}: {error}") from error


def _user_id(name: str) -> int:
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise CannotStartError(f"there is no user {name}: name another one, or a number") from None


def _notify(address: str) -> None:
    """READY=1 to the service manager (the protocol of sd_notify(3)); as it may be gone, without complaint."""
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(b"READY=1", socket.MSG_DONTWAIT, target)
        except OSError:
            pass
