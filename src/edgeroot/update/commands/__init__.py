"""``edgeroot update``: publish firmware releases, and bring them into a device."""

from __future__ import annotations

import click

from edgeroot.cli.frame import FrameGroup
from edgeroot.update.commands.fetching import check, install
from edgeroot.update.commands.publishing import publish, refresh, rotate_root
from edgeroot.update.commands.trial import accept, reject, status

SECTION = "Run the service"


@click.group(
    "update",
    cls=FrameGroup,
    short_help="Publish firmware releases, and install them on a device.",
    examples=[
        "edgeroot update publish --repository www --keys keys --images images --product gateway",
        "edgeroot update check --repository https://updates.example/ --root 1.root.json --product gateway",
        "edgeroot update install",
        "edgeroot update accept --verifier https://verifier.example/",
    ],
)
def update() -> None:
    """Firmware of the secure world: release it (publish, refresh, rotate-root), and bring it into a device.

    On the device: check, install, restart the secure world, accept. What was not accepted is on trial, and the firmware
    before comes back after three boots. Releases are in a TUF repository; devices take nothing that it has not signed.
    """


for _one in (publish, refresh, rotate_root, check, install, accept, reject, status):
    update.add_command(_one)
