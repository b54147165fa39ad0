"""``edgeroot verifier``: judge what devices say of themselves."""

from __future__ import annotations

import click

from edgeroot.cli.frame import FrameGroup
from edgeroot.verifier.commands.files import appraise, check_policy, endorse, endorse_quote
from edgeroot.verifier.commands.service import check_audit, revoke_command, serve, submit

SECTION = "Storage and attestation"


@click.group(
    "verifier",
    cls=FrameGroup,
    short_help="Judge what devices say of themselves.",
    examples=["edgeroot verifier appraise token.cbor --challenge $CHALLENGE --corim fleet.corim"],
)
def verifier() -> None:
    """The relying party's side of attestation. It needs no service and no device."""


for _command in (endorse, endorse_quote, appraise, check_policy, serve, submit, revoke_command, check_audit):
    verifier.add_command(_command)
