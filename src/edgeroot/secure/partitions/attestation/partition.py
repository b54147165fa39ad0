"""The attestation partition's entry for its process."""

from __future__ import annotations

from edgeroot.abi.services import CRYPTO, KEY_INSPECTION
from edgeroot.secure.partitions.attestation.attester import Attester
from edgeroot.secure.partitions.attestation.boot import UNMEASURED_EVENT_LOG, PlatformSettings
from edgeroot.secure.partitions.attestation.keys import RpcIakKeys, RpcKeyInspector
from edgeroot.secure.partitions.attestation.service import attestation_services
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import Environment


def create(environment: Environment) -> tuple[Service, ...]:
    """The legacy service (interface 0) and RFC 9783's (interface 1) over one key. EvidenceError for a bad event log."""
    keys = RpcIakKeys(environment.session(CRYPTO))
    event_log = environment.event_log or UNMEASURED_EVENT_LOG
    inspector = RpcKeyInspector(environment.session(KEY_INSPECTION))
    settings = PlatformSettings(lifecycle=environment.lifecycle, signers=environment.signers)
    attester = Attester(
        keys, inspector=inspector, boot_seed=environment.boot_seed, event_log=event_log, settings=settings
    )
    return attestation_services(attester)
