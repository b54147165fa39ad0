"""``edgeroot sealing``: what the files are that keys are encrypted under, and binding them to a TPM."""

from __future__ import annotations

from pathlib import Path

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit, note

SECTION = "Run the service"
_file = click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
_tpm = click.option(
    "--tpm", "tcti", metavar="TCTI", required=True, help="The TPM as the TSS names it, such as device:/dev/tpmrm0."
)


@click.group(
    "sealing",
    cls=FrameGroup,
    short_help="Bind wrapping keys and device secrets to a TPM.",
    examples=["edgeroot sealing show kim.sqlite3.edgeroot.key"],
)
def sealing() -> None:
    """What everything stored is encrypted under: a provider's wrapping key, a secure world's device secret.

    Sealed to a TPM, a secret is of no use to whoever has the disk and not the TPM. Keep a recovery copy elsewhere: when
    the TPM is cleared or broken, or its registers change, nothing else gives the keys back.
    """


@command("show", examples=["sudo edgeroot sealing show /var/lib/edgeroot-secure-world/device-secret"])
@_file
def show(path: Path) -> None:
    """What kind of secret a file has, and whether it is sealed to a TPM."""
    from edgeroot.sealing.errors import SealingError
    from edgeroot.sealing.secret_file import find
    from edgeroot.sealing.tpm import pcrs_of

    try:
        found = find(path, None)
        blob = found.sealed_blob()
        pcrs = None if blob is None else list(pcrs_of(blob))
    except SealingError as error:
        raise CommandError(str(error)) from error
    how = "plain" if pcrs is None else "sealed to a TPM"
    registers = f", and to its registers {', '.join(map(str, pcrs))}" if pcrs else ""
    fields = {"file": str(path), "kind": found.kind, "sealed": pcrs is not None, "pcrs": pcrs}
    emit(fields, f"{found.kind}, {how}{registers}")


@command(
    "to-tpm",
    examples=[
        "edgeroot sealing to-tpm kim.sqlite3.edgeroot.key --tpm device:/dev/tpmrm0 --recovery /media/usb/recovery.key",
        "edgeroot sealing to-tpm device-secret --tpm device:/dev/tpmrm0 --pcrs 0,7 --recovery /media/usb/recovery",
    ],
)
@_file
@_tpm
@click.option("--pcrs", default="", metavar="0,7", help="Bind it to what these registers hold now, too (SHA-256).")
@click.option("--recovery", type=click.Path(path_type=Path), help="Where the recovery copy goes, which is not sealed.")
@click.option("--no-recovery", is_flag=True, help="Make no recovery copy: if the TPM is lost, so is everything stored.")
def to_tpm(path: Path, tcti: str, pcrs: str, recovery: Path | None, *, no_recovery: bool) -> None:
    """Seal the secret in a file to a TPM, in place and in one step. Stop the service before.

    The plain secret may still be found on the disk where the file was: if it matters, seal a new one before there are
    keys, by naming the TPM in the configuration from the beginning.
    """
    from edgeroot.sealing.errors import SealingError
    from edgeroot.sealing.secret_file import find
    from edgeroot.sealing.tpm import TpmPlace, parse_pcrs

    if (recovery is None) != no_recovery:
        raise click.UsageError("say with --recovery where a copy goes, or with --no-recovery that there shall be none")
    try:
        place = TpmPlace(tcti, parse_pcrs(pcrs))
    except ValueError as error:
        raise click.UsageError(f"--pcrs: {error}") from error
    try:
        found = find(path, None)
        if recovery is not None:
            found.recover(recovery)
        found.seal(place)
    except SealingError as error:
        raise CommandError(str(error)) from error
    note(f"The {found.kind} {path} is sealed.")
    copy = None if recovery is None else str(recovery)
    emit({"file": str(path), "kind": found.kind, "pcrs": list(place.pcrs), "recovery": copy}, None)


@command("recover", examples=["edgeroot sealing recover device-secret --tpm device:/dev/tpmrm0 -o /media/usb/recovery"])
@_file
@_tpm
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where the plain copy goes.")
def recover(path: Path, tcti: str, output: Path) -> None:
    """Have the TPM give a secret back, and write a plain copy of the file: to be kept elsewhere.

    To use it, put it in the sealed file's place, and seal it anew with to-tpm.
    """
    from edgeroot.sealing.errors import SealingError
    from edgeroot.sealing.secret_file import find
    from edgeroot.sealing.tpm import TpmPlace

    try:
        found = find(path, TpmPlace(tcti))
        found.recover(output)
    except SealingError as error:
        raise CommandError(str(error)) from error
    note(f"A plain copy of the {found.kind} is in {output}.")
    emit({"file": str(path), "kind": found.kind, "output": str(output)}, None)


for _command in (show, to_tpm, recover):
    sealing.add_command(_command)
