"""The device's commands that ask a repository: what is offered, and have it installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit
from edgeroot.update.commands.progress import shown
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
    from edgeroot.abi.mcuboot import Version
    from edgeroot.tee.psa import PsaClient
    from edgeroot.update.client import Catalogue, Client
    from edgeroot.update.fetcher import Progress
    from edgeroot.update.images import ReleaseImage
    from edgeroot.update.releases import Release

SOMETHING_NEWER: Final = 100
_RESTART: Final = "restart the secure world to try it, then `edgeroot update accept` or `edgeroot update reject`"
_repository = click.option(
    "--repository", metavar="URL|DIR", help="Where the repository is: https://..., a folder. Default: as the last time."
)
_product = click.option("--product", metavar="NAME", help="The kind of device that this is. Default: as the last time.")
_root = click.option(
    "--root",
    "root_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The first time: the root to trust, the repository's 1.root.json as it came to you in a safe way.",
)


@command(
    "check",
    examples=[
        "edgeroot update check --repository https://updates.example/ --root 1.root.json --product gateway",
        "edgeroot update check",
    ],
)
@_repository
@_root
@_product
@state_option
@ca_option
@socket_option
@click.pass_context
def check(
    context: click.Context,
    repository: str | None,
    root_path: Path | None,
    product: str | None,
    state_path: Path | None,
    ca_path: Path | None,
    socket_path: Path | None,
) -> None:
    """Say what runs, and what is offered. The exit code is 100 if there is something newer, and 0 if there is not.

    Root, repository and product are remembered. The root stays for ever: only it can name another one.
    """
    need_tuf()
    from edgeroot.update.client import Client
    from edgeroot.update.installed import running_release

    state = state_folder(state_path)
    with command_errors(str(state)):
        client = Client(state)
        catalogue, product = _open(client, repository, product, root_path, ca_path)
        releases = catalogue.of(product)
        with secure_world(socket_path) as psa:
            running = running_release(state, psa)
    newest = releases[-1].version
    newer = running is None or newest > running
    fields = {
        "product": product,
        "running": None if running is None else running.short,
        "offered": [release.version.short for release in releases],
        "newer": newest.short if newer else None,
    }
    said = f"newer: {newest.short} (edgeroot update install)" if newer else "nothing newer"
    offered = ", ".join(release.version.short for release in releases)
    emit(fields, f"runs: {_text(running)}\noffered: {offered}\n{said}")
    if newer:
        context.exit(SOMETHING_NEWER)


@command(
    "install",
    examples=[
        "edgeroot update install",
        "edgeroot update install --version 1.1.0",
        "edgeroot update install --from gateway.tar",
    ],
)
@click.option("--version", "version_text", metavar="1.2.3", help="Which release. Default: the newest.")
@click.option(
    "--from",
    "bundle",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="BUNDLE",
    help="Take it from this file (edgeroot update publish --bundle), without a network.",
)
@_repository
@_root
@_product
@state_option
@ca_option
@socket_option
def install(
    version_text: str | None,
    bundle: Path | None,
    repository: str | None,
    root_path: Path | None,
    product: str | None,
    state_path: Path | None,
    ca_path: Path | None,
    socket_path: Path | None,
) -> None:
    """Fetch a release and install it, to be tried at the next start of the secure world.

    A download that broke goes on where it was. Only images that do not run already are written. If anything fails, the
    device is as it was.
    """
    need_tuf()
    from edgeroot.update.client import Client
    from edgeroot.update.files import make_folder, only_one
    from edgeroot.update.installed import note_installed, running_release

    state = state_folder(state_path)
    with command_errors(str(state)):
        make_folder(state)
        with only_one(state), secure_world(socket_path) as psa:
            client = Client(state)
            counted: dict[str, int] = {}
            with shown("fetched", counted) as progress:
                catalogue, product = _open(client, repository, product, root_path, ca_path, bundle, progress)
                release = _choose(catalogue.of(product), version_text)
                running = running_release(state, psa)
                if version_text is None and running is not None and release.version <= running:
                    emit({"installed": None, "running": running.short}, f"nothing newer than {running.short}")
                    return
                images = _fetch(catalogue, release, psa, counted)
            names = _write(psa, images, _revoked(socket_of(socket_path)))
            if names:
                note_installed(state, release.version, images)
            client.forget_images()
    fields = {"installed": release.version.short, "images": names, "restart_needed": bool(names)}
    if names:
        emit(fields, f"installed {product} {release.version.short} ({', '.join(names)}): {_RESTART}")
    else:
        emit(fields, f"every image of {product} {release.version.short} runs already")


def _open(
    client: Client,
    repository: str | None,
    product: str | None,
    root_path: Path | None,
    ca_path: Path | None,
    bundle: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Catalogue, str]:
    """The repository as it is now, and the product; both are remembered."""
    from edgeroot.update.client import Remembered
    from edgeroot.update.errors import UpdateError
    from edgeroot.update.sources import bundle_source, read_source

    known = client.remembered()
    product = product or known.product
    if not product:
        raise click.UsageError("say with --product what kind of device this is, the first time")
    if bundle is not None:
        source, repository = bundle_source(bundle), known.repository
    else:
        repository = repository or known.repository
        if not repository:
            raise click.UsageError("say with --repository where the repository is, the first time")
        source = read_source(repository)
        repository = repository if source.path is None else str(source.path)
    is_new = root_path is not None and client.trust(root_path.read_bytes())
    try:
        catalogue = client.open(source, ca_path=ca_path, progress=progress)
        catalogue.of(product)
    except UpdateError:
        if is_new:  # a slip: only a root that has served is kept
            client.trust_nothing()
        raise
    client.remember(Remembered(repository, product))
    return catalogue, product


def _choose(releases: list[Release], version_text: str | None) -> Release:
    if version_text is None:
        return releases[-1]
    found = [release for release in releases if release.version.short == version_text]
    if not found:
        offered = ", ".join(release.version.short for release in releases)
        raise CommandError(f"{version_text} is not offered. Choose one of these: {offered}")
    return found[0]


def _fetch(catalogue: Catalogue, release: Release, psa: PsaClient, counted: dict[str, int]) -> tuple[ReleaseImage, ...]:
    from edgeroot.abi.mcuboot import ImageError
    from edgeroot.update import errors
    from edgeroot.update.device import check_place, components
    from edgeroot.update.images import read_image
    from edgeroot.update.releases import image_name

    sizes = catalogue.size_bytes(release)
    check_place(components(psa), {kind: sizes[path] for kind, path in release.images.items()})
    counted.update({image_name(kind): sizes[path] for kind, path in release.images.items()})
    images = []
    for kind, path in release.images.items():
        data = catalogue.download(path).read_bytes()
        try:
            images.append(read_image(image_name(kind), data))
        except ImageError as error:
            raise errors.WrongDeviceError(f"{path} is no image for this device: {error}. Tell its publisher") from error
    return tuple(images)


def _revoked(path: Path) -> set[bytes]:
    """The device's root keys that are revoked, if it says so."""
    slots = firmware_status(path).get("root_keys") or ()
    return {bytes.fromhex(one["hash"]) for one in slots if one["state"] == "revoked"}


def _write(psa: PsaClient, images: tuple[ReleaseImage, ...], revoked: set[bytes]) -> list[str]:
    """The names of the images that were installed: those that do not run already."""
    from edgeroot.evidence import EvidenceError
    from edgeroot.update.device import agent_errors, check_signers
    from edgeroot.update.device import install as install_all
    from edgeroot.update.errors import NoSecureWorldError
    from edgeroot.update.health import measured

    try:
        with agent_errors("attestation"):
            runs = measured(psa.psa_initial_attest_get_token(os.urandom(32)))
    except (NoSecureWorldError, EvidenceError):
        runs = {}  # then every image is written
    changed = [image for image in images if runs.get(image.name) != image.digest]
    check_signers(changed, revoked)
    if changed:
        with shown("written", {image.name: len(image.data) for image in changed}) as progress:
            install_all(psa, changed, progress)
    return [image.name for image in changed]


def _text(version: Version | None) -> str:
    return "unknown" if version is None else version.short
