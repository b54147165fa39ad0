"""The publisher's commands."""

from __future__ import annotations

from pathlib import Path

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, note
from edgeroot.update.commands.shared import command_errors, need_tuf

_MAKER = "The folder of the repository, as a web server serves it."
_repository = click.option(
    "--repository", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help=_MAKER
)
_keys = click.option(
    "--keys",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder of the roles' keys: offline/ and online/ in it.",
)
_days = click.option(
    "--expires-days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 3650),
    help="For how long devices take what is newest for that.",
)


@command(
    "publish",
    examples=[
        "edgeroot update publish --repository www --keys keys --images images --product gateway",
        "edgeroot update publish --repository www --keys keys --images images --product gateway \\",
        "    --implementation-id $(cat implementation-id) --bundle gateway.tar",
    ],
)
@_repository
@_keys
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="The signed images, NAME.img (edgeroot device build-images).",
)
@click.option("--product", required=True, metavar="NAME", help="The kind of device that it is for.")
@click.option("--version", "version_text", metavar="1.2.3", help="The release's version. Default: the manager's.")
@click.option("--implementation-id", metavar="HEX", help="Of the devices, as their tokens say it: for the CoRIM.")
@click.option(
    "--corim",
    "corim_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the CoRIM goes. Default: PRODUCT-VERSION.corim in the repository.",
)
@click.option(
    "--bundle",
    "bundle_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write all that a device without a network needs into one file.",
)
@_days
def publish(
    repository: Path,
    keys: Path,
    images: Path,
    product: str,
    version_text: str | None,
    implementation_id: str | None,
    corim_path: Path | None,
    bundle_path: Path | None,
    expires_days: int,
) -> None:
    """Add a release to a repository, which is made with its keys the first time.

    A version is published once: the same images again renew the signatures, other ones are refused. If this is
    interrupted, devices see the repository as it was; do it again. With the devices' implementation id, the release's
    reference values are written for verifiers (edgeroot verifier).

    Keep KEYS/offline away from machines in a network, once devices have the repository's 1.root.json.
    """
    need_tuf()
    from edgeroot.update.bundle import write_bundle
    from edgeroot.update.files import make_folder, only_one, write_file
    from edgeroot.update.images import read_images, release_version
    from edgeroot.update.reference_values import corim_name, reference_corim
    from edgeroot.update.releases import is_product, read_version
    from edgeroot.update.repository import Repository

    if not is_product(product):
        raise click.UsageError("a product's name is of letters, digits, '.', '_' and '-', 64 at most")
    if corim_path is not None and implementation_id is None:
        raise click.UsageError("a CoRIM says whose values it has: give --implementation-id as well")
    version = None if version_text is None else read_version(version_text)
    if version_text is not None and version is None:
        raise click.UsageError("a version is MAJOR.MINOR.REVISION or MAJOR.MINOR.REVISION+BUILD, such as 1.2.3+45")
    implementation = _implementation(implementation_id)
    with command_errors(str(repository)):
        found = read_images(images)
        version = version or release_version(found)
        name = corim_name(product, version.short)
        corim = None
        if implementation is not None:
            corim = reference_corim(name.removesuffix(".corim"), implementation, found)
        beside = {} if corim is None or corim_path is not None else {name: corim}
        make_folder(repository.absolute())
        with only_one(repository):
            place = Repository(repository.absolute(), keys.absolute())
            place.publish(product, version, found, online_days=expires_days, beside=beside)
            if corim is not None and corim_path is not None:
                write_file(corim_path.absolute(), corim)
            if bundle_path is not None:
                write_file(bundle_path.absolute(), write_bundle(place.newest_files(product, version)))
    if corim is not None and corim_path is None:
        corim_path = repository / name
    fields = {
        "product": product,
        "version": version.short,
        "images": {image.name: image.version.short for image in found},
        "corim": None if corim_path is None else str(corim_path),
        "bundle": None if bundle_path is None else str(bundle_path),
    }
    lines = [f"published {product} {version.short}: " + ", ".join(image.name for image in found)]
    lines += [f"{what}: {path}" for what, path in (("corim", corim_path), ("bundle", bundle_path)) if path is not None]
    emit(fields, "\n".join(lines))
    if implementation is None:
        note("no CoRIM was written: give --implementation-id to have verifiers know the release")


@command("refresh", examples=["edgeroot update refresh --repository www --keys keys"])
@_repository
@_keys
@_days
def refresh(repository: Path, keys: Path, expires_days: int) -> None:
    """Renew the signatures on what is newest, before they expire. The keys in KEYS/online are enough.

    Have a timer do it daily. Root and targets are good for a year: publish and rotate-root renew them.
    """
    need_tuf()
    from edgeroot.update.files import only_one
    from edgeroot.update.repository import Repository

    with command_errors(str(repository)), only_one(repository):
        Repository(repository.absolute(), keys.absolute()).refresh(online_days=expires_days)
    emit({"expires_days": expires_days}, f"good for {expires_days} days")


@command("rotate-root", examples=["edgeroot update rotate-root --repository www --keys keys"])
@_repository
@_keys
def rotate_root(repository: Path, keys: Path) -> None:
    """Give the repository a new root key, and its root another year. Devices follow by themselves.

    Do it once a year, and when the key may have become known. The old key is deleted, and nothing that it signs from
    then on is taken by devices that have seen the new root.
    """
    need_tuf()
    from edgeroot.update.files import only_one
    from edgeroot.update.repository import Repository

    with command_errors(str(repository)), only_one(repository):
        number = Repository(repository.absolute(), keys.absolute()).rotate_root()
    emit({"root": number}, f"the root is now {number}.root.json")


def _implementation(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        found = bytes.fromhex(text)
    except ValueError as error:
        raise click.UsageError("an implementation id is hexadecimal") from error
    if len(found) != 32:
        raise CommandError("an implementation id has 32 bytes: take it from a token of such a device")
    return found
