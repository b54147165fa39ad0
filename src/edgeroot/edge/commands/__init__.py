"""``edgeroot edge``: what runs in a Kubernetes cluster."""

from __future__ import annotations

import click

from edgeroot.cli.frame import FrameGroup
from edgeroot.edge.commands.agent import agent
from edgeroot.edge.commands.certificates import certificates
from edgeroot.edge.commands.controller import controller
from edgeroot.edge.commands.device_plugin import device_plugin
from edgeroot.edge.commands.enrol import enrol
from edgeroot.edge.commands.enrolment import enrolment
from edgeroot.edge.commands.firmware import firmware
from edgeroot.edge.commands.metrics import metrics

SECTION = "Run the service"


@click.group(
    "edge",
    cls=FrameGroup,
    short_help="Run the parts that belong to a Kubernetes cluster.",
    examples=["edgeroot edge device-plugin"],
)
def edge() -> None:
    """The parts that belong to a Kubernetes cluster. They need: pip install 'edgeroot[k8s]'"""


for _one in (agent, certificates, controller, device_plugin, enrol, enrolment, firmware, metrics):
    edge.add_command(_one)
