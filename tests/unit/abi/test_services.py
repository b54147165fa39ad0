from __future__ import annotations

from edgeroot.abi import services
from edgeroot.abi.services import SERVICES


def test_what_is_offered_and_what_is_known_and_absent() -> None:
    offered = {service.name for service in SERVICES.values() if service.is_offered}
    assert offered == {
        "crypto",
        "crypto-protobuf",
        "key-inspection",
        "internal-trusted-storage",
        "protected-storage",
        "attestation",
        "attestation-rfc9783",
        "fwu",
    }
    for uuid in (services.LOGGING, services.BLOCK_STORAGE, services.SMM_VARIABLE, services.FTPM):
        assert not SERVICES[uuid].is_offered


def test_each_service_has_one_name_and_none_the_uuid_of_the_protocol() -> None:
    assert len({service.name for service in SERVICES.values()}) == len(SERVICES) == 14
    assert all(service.uuid == uuid for uuid, service in SERVICES.items())
    assert services.TS_RPC_FFA_UUID not in SERVICES
    assert {one.name for one in SERVICES.values() if not one.speaks_ts_rpc} == {"smm-variable", "ftpm"}
