"""``edgeroot device``: signed images of the secure world, and what a device's one-time-programmable memory holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit

if TYPE_CHECKING:
    from edgeroot.abi.mcuboot import Version
    from edgeroot.secure.boot.encryption import ImagePublicKey
    from edgeroot.secure.boot.root_keys import RootKeys

SECTION = "Run the service"
_LATER: Final = ("secured", "non-psa-rot-debug", "recoverable-psa-rot-debug", "decommissioned")
_VERSION: Final = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\+(\d{1,10}))?")
_state = click.option(
    "--state",
    "state_path",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The secure world's folder of secrets and objects, as `secure-world run --state` has it.",
)


@click.group(
    "device",
    cls=FrameGroup,
    short_help="Provision a device to run signed images only.",
    examples=["edgeroot device status --state /var/lib/edgeroot-secure-world"],
)
def device() -> None:
    """Secure boot of the emulated secure world: sign its partitions, and have a device run nothing else.

    What a device is told here it keeps: nothing takes back a root key, its revocation, or a life-cycle state.
    """


@command(
    "build-images",
    examples=["edgeroot device build-images --key maker.pem --version 1.0.0 --security-counter 1 images"],
)
@click.option("--key", "key_path", required=True, type=click.Path(path_type=Path), help="The private root key (PEM).")
@click.option("--version", "version_text", required=True, metavar="1.2.3", help="The version of the images.")
@click.option(
    "--security-counter",
    required=True,
    type=click.IntRange(0, 0xFFFFFFFF),
    help="Devices whose counter is higher refuse them.",
)
@click.option(
    "--encrypt-to",
    "image_key_path",
    type=click.Path(path_type=Path),
    help="Encrypt them to this public key (PEM, P-256 or X25519) of their devices.",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def build_images(
    key_path: Path, version_text: str, security_counter: int, image_key_path: Path | None, folder: Path
) -> None:
    """Make a signed image of the partition manager and of each partition from what is installed here: DIR/NAME.img.

    They run with this version of Python on this kind of machine. The key is RSA of 2048 or 3072 bits, ECDSA on P-256 or
    Ed25519, without a pass phrase; imgtool of MCUboot makes and checks the same format.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from edgeroot.secure.boot.signing import SigningKey, sign_image

    version = _version(version_text)
    try:
        key = load_pem_private_key(key_path.read_bytes(), None)
    except OSError as error:
        raise CommandError(f"cannot use {key_path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise CommandError(f"{key_path} holds no private key in PEM without a pass phrase") from error
    if not isinstance(key, SigningKey):
        raise CommandError(f"{key_path} is no RSA, ECDSA or Ed25519 key")

    encrypt_to = None if image_key_path is None else _image_public_key(image_key_path)

    def signed(content: bytes) -> bytes:
        return sign_image(content, key, version=version, security_counter=security_counter, encrypt_to=encrypt_to)

    made = _write_each(folder, ".img", signed)
    emit({"images": made}, "\n".join(made.values()))


@command("build-contents", examples=["edgeroot device build-contents contents"])
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def build_contents(folder: Path) -> None:
    """Make the content of each image, DIR/NAME.bin, for whoever signs it elsewhere with imgtool."""
    made = _write_each(folder, ".bin", lambda content: content)
    emit({"contents": made}, "\n".join(made.values()))


@command(
    "provision",
    examples=[
        "edgeroot device provision --root-key maker.pub.pem --state /var/lib/edgeroot-secure-world",
        "edgeroot device provision --root-key 1.pub.pem --root-key 2.pub.pem --state /var/lib/edgeroot-secure-world",
    ],
)
@_state
@click.option(
    "--root-key",
    "key_paths",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="The maker's public key (PEM); again for each further one, up to four, in the order of their slots.",
)
@click.option(
    "--security-counter",
    default=0,
    show_default=True,
    type=click.IntRange(0, 0xFFFFFFFF),
    help="Images below it never run.",
)
@click.option("--development", is_flag=True, help="The keys are ones for development: the device can never be secured.")
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write these images to the device's flash, from where it boots and is updated.",
)
@click.option(
    "--image-key",
    "image_key_path",
    type=click.Path(path_type=Path),
    help="The private key (PEM, P-256 or X25519) that the device's images are encrypted to.",
)
def provision(
    state_path: Path,
    key_paths: tuple[Path, ...],
    security_counter: int,
    *,
    development: bool,
    images: Path | None,
    image_key_path: Path | None,
) -> None:
    """Give a device the root keys that its images are signed with. It keeps them for ever.

    An image runs that is signed with any of them, until that key is revoked: keep the private halves of those that are
    not in use yet apart. If this is interrupted, do it again with the same keys.
    """
    from contextlib import ExitStack

    from edgeroot.abi.mcuboot import ImageError
    from edgeroot.secure.boot.commands.factory import read_firmware, write_firmware
    from edgeroot.secure.boot.fuses import FusesError
    from edgeroot.secure.boot.root_keys import RootKeys
    from edgeroot.secure.platform.files import FileLock, LockedError, replace_file
    from edgeroot.secure.platform.flash import FlashError
    from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError
    from edgeroot.secure.spm.state import State, StateError
    from edgeroot.secure.stage.device_fuses import open_fuses, read_fuses
    from edgeroot.secure.stage.image_key import read_image_key
    from edgeroot.secure.stage.places import LOCK
    from edgeroot.secure.stage.sources import FolderSource

    key_hashes = [_key_hash(one) for one in key_paths]
    try:
        state_path.mkdir(mode=0o711, parents=True, exist_ok=True)
        state = State(state_path, state_path)
        firmware = None
        image_key = read_image_key(state.image_key if image_key_path is None else image_key_path)
        if image_key is None and image_key_path is not None:
            raise CommandError(f"cannot use {image_key_path}: there is no such file")
        if images is not None:  # nothing is burnt for a device that its images would not run on
            before = read_fuses(state.one_time_memory)
            root_keys = RootKeys.of(*key_hashes) if before is None else before.root_keys_with(key_hashes)
            firmware = read_firmware(
                FolderSource(images), root_keys=root_keys, security_counter=security_counter, image_key=image_key
            )
        with ExitStack() as stack:  # not under a secure world that runs, whose update agent has the flash
            stack.callback(FileLock.acquire(state_path / LOCK).release)
            fuses = open_fuses(state.one_time_memory, create=True)
            fuses.provision(key_hashes, security_counter=security_counter, development=development)
            if image_key_path is not None:
                replace_file(state.image_key, image_key_path.read_bytes(), mode=0o600)
            if firmware is not None:
                write_firmware(state, firmware)
    except OSError as error:
        raise CommandError(f"cannot use {error.filename}: {error.strerror}") from error
    except (ImageError, FusesError, FlashError, LockedError, StateError, OneTimeMemoryError) as error:
        raise CommandError(str(error)) from error
    _say(state_path)


@command("status", examples=["edgeroot device status --state /var/lib/edgeroot-secure-world"])
@_state
def status(state_path: Path) -> None:
    """The device's life-cycle state, root keys and security counter."""
    _say(state_path)


@command(
    "revoke-key",
    examples=["edgeroot device revoke-key 0 --state /var/lib/edgeroot-secure-world"],
)
@click.argument("key", metavar="SLOT|HASH")
@_state
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder that the secure world is started with, if it is started with one.",
)
def revoke_key(key: str, state_path: Path, images: Path | None) -> None:
    """Revoke a root key of the device, for ever: no image that is signed with it runs or is installed any more.

    The key is named by its slot or its hash, as `edgeroot device status` shows them. Install and accept firmware that
    is signed with another root key first: this is refused as long as the device would not boot without this key. The
    secure world must not run meanwhile.
    """
    from contextlib import ExitStack

    from edgeroot.abi.mcuboot import ImageError
    from edgeroot.secure.boot.commands.revocation import check_still_boots
    from edgeroot.secure.boot.fuses import FusesError
    from edgeroot.secure.platform.files import FileLock, LockedError
    from edgeroot.secure.platform.flash import FlashError
    from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError
    from edgeroot.secure.spm.state import State
    from edgeroot.secure.stage.device_fuses import read_fuses
    from edgeroot.secure.stage.places import LOCK

    state = State(state_path, state_path)
    try:
        with ExitStack() as stack:  # not under a secure world that runs, which has read the keys already
            stack.callback(FileLock.acquire(state_path / LOCK).release)
            fuses = read_fuses(state.one_time_memory)
            root_keys = None if fuses is None else fuses.root_keys()
            if fuses is None or root_keys is None:
                raise CommandError("the device has no root key that could be revoked")
            number = _slot(key, root_keys)
            fuses.check_revocation(number)
            check_still_boots(state, fuses, root_keys.without(number), images)
            fuses.revoke(number)
    except OSError as error:
        raise CommandError(f"cannot use {error.filename}: {error.strerror}") from error
    except ImageError as error:
        raise CommandError(f"the device would not boot any more without root key {key}: {error}") from error
    except (FusesError, FlashError, LockedError, OneTimeMemoryError) as error:
        raise CommandError(str(error)) from error
    _say(state_path)


@command("lifecycle", examples=["edgeroot device lifecycle secured --state /var/lib/edgeroot-secure-world"])
@click.argument("wanted", metavar="STATE", type=click.Choice(_LATER))
@_state
def lifecycle(wanted: str, state_path: Path) -> None:
    """Enter a later life-cycle state, for ever.

    From `secured` on the secure world starts from signed images only. In the states after it, it does not start at all,
    so that nobody who debugs the device gets at its keys.
    """
    from edgeroot.evidence import Lifecycle
    from edgeroot.secure.boot.fuses import FusesError
    from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError
    from edgeroot.secure.spm.state import State
    from edgeroot.secure.stage.device_fuses import open_fuses

    try:
        place = State(state_path, state_path)
        fuses = open_fuses(place.one_time_memory, create=False)
        fuses.advance(next(state for state in Lifecycle if state.words == wanted))
        if fuses.lifecycle() is Lifecycle.DECOMMISSIONED:
            place.image_key.unlink(missing_ok=True)
    except (FusesError, OneTimeMemoryError) as error:
        raise CommandError(f"{error}. See `edgeroot device status`") from error
    _say(state_path)


def _write_each(folder: Path, suffix: str, finished: Callable[[bytes], bytes]) -> dict[str, str]:
    """Write what ``finished`` makes of each image's content; the files by the images' names."""
    from edgeroot.abi.mcuboot import ImageError
    from edgeroot.secure.boot.commands.build import build_archives
    from edgeroot.secure.platform.files import replace_file

    made = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in build_archives():
            path = folder / f"{name}{suffix}"
            replace_file(path, finished(content), mode=0o644)
            made[name] = str(path)
    except OSError as error:
        raise CommandError(f"cannot use {error.filename}: {error.strerror}") from error
    except ImageError as error:
        raise CommandError(str(error)) from error
    return made


def _image_public_key(path: Path) -> ImagePublicKey:
    """CommandError if it cannot be used."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, x25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from edgeroot.abi.mcuboot import ImageError
    from edgeroot.secure.boot.encryption import tlv_kind

    try:
        key = load_pem_public_key(path.read_bytes())
        tlv_kind(key)
    except OSError as error:
        raise CommandError(f"cannot use {path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CommandError(f"{path} holds no public key in PEM") from error
    except ImageError as error:
        raise CommandError(f"{path}: {error}") from error
    assert isinstance(key, ec.EllipticCurvePublicKey | x25519.X25519PublicKey)
    return key


def _key_hash(path: Path) -> bytes:
    """Of a public key in a file, as images hold it. CommandError if it cannot be used."""
    from hashlib import sha256

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from edgeroot.abi.mcuboot import ImageError
    from edgeroot.secure.boot.verify import encode_root_key

    try:
        return sha256(encode_root_key(load_pem_public_key(path.read_bytes()))).digest()
    except OSError as error:
        raise CommandError(f"cannot use {path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CommandError(f"{path} holds no public key in PEM") from error
    except ImageError as error:
        raise CommandError(f"{path}: {error}") from error


def _slot(named: str, root_keys: RootKeys) -> int:
    """The number of the slot that is named. CommandError if there is no such key."""
    for one in root_keys.slots:
        if named.lower() in (str(one.number), one.key_hash.hex()):
            return one.number
    raise CommandError(f"the device has no root key {named}: `edgeroot device status` shows which it has")


def _say(state_path: Path) -> None:
    from edgeroot.evidence import Lifecycle
    from edgeroot.secure.boot.fuses import FusesError
    from edgeroot.secure.boot.root_keys import RootKeys
    from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError
    from edgeroot.secure.spm.state import State
    from edgeroot.secure.stage.device_fuses import read_fuses

    try:
        fuses = read_fuses(State(state_path, state_path).one_time_memory)
        state = Lifecycle.ASSEMBLY_AND_TEST if fuses is None else fuses.lifecycle()
        root_keys = (None if fuses is None else fuses.root_keys()) or RootKeys(())
        counter = 0 if fuses is None else fuses.security_counter()
        development = fuses is not None and fuses.is_for_development()
    except (FusesError, OneTimeMemoryError) as error:
        raise CommandError(str(error)) from error
    slots = root_keys.describe()
    kind = ", for development" if development else ""
    lines = [
        f"root key {one['slot']}: " + (f"{one['hash']} ({one['state']}{kind})" if one["hash"] else "none")
        for one in slots
    ]
    fields = {"lifecycle": state.words, "root_keys": slots, "security_counter": counter, "development": development}
    emit(fields, "\n".join((f"life cycle: {state.words}", *lines, f"security counter: {counter}")))


def _version(text: str) -> Version:
    from edgeroot.abi.mcuboot import Version

    found = _VERSION.fullmatch(text)
    numbers = [int(part or 0) for part in found.groups()] if found else [-1]
    if not found or any(number > most for number, most in zip(numbers, (0xFF, 0xFF, 0xFFFF, 0xFFFFFFFF), strict=True)):
        raise click.UsageError("a version is MAJOR.MINOR.REVISION or MAJOR.MINOR.REVISION+BUILD, such as 1.2.3+45")
    return Version(*numbers)


for _one in (build_images, build_contents, provision, status, revoke_key, lifecycle):
    device.add_command(_one)
