"""Manifests: what is accepted, and how the others are refused."""

from __future__ import annotations

import pytest

from edgeroot.abi import services
from edgeroot.secure.spm.manifest import Manifest, ManifestError, built_in_manifests, check_together, parse_manifest

GOOD = """
name = "echo"
id = 0x8010
module = "some.where"
services = ["33c75baf-ac6a-4fe4-8ac7-e9909bee2d17"]
boot_order = 5
callers = ["normal-world"]
"""


def manifest(name: str, endpoint_id: int, order: int, *callers: str) -> Manifest:
    return Manifest(name=name, id=endpoint_id, module="m", services=(), boot_order=order, callers=frozenset(callers))


def test_smallest_manifest_has_the_defaults() -> None:
    parsed = parse_manifest(GOOD, "echo.toml")
    assert (parsed.name, parsed.id, parsed.services) == ("echo", 0x8010, (services.TEST_RUNNER,))
    assert (parsed.execution_contexts, parsed.memory_slots, parsed.queue_depth) == (1, 16, 32)
    assert (parsed.storage, parsed.counters, parsed.flash) == (False, False, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("memory_slot = 3", "unknown key 'memory_slot'; the nearest valid one is 'memory_slots'"),
        ("memory_slots = 0", "memory_slots must be a number from 1"),
        ("memory_slots = true", "memory_slots must be a number"),
        ("storage = 1", "storage must be true or false"),
        ("queue_depth = 'x'", "queue_depth must be a number"),
        ("not toml", "not TOML"),
    ],
)
def test_bad_key_is_named(change: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(GOOD + change, "echo.toml")


@pytest.mark.parametrize("key", ["name", "id", "module", "services", "boot_order", "callers"])
def test_missing_key_is_named(key: str) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(key))
    with pytest.raises(ManifestError, match=f"echo.toml: {key} is missing"):
        parse_manifest(text, "echo.toml")


def test_ids_of_the_normal_world_are_refused() -> None:
    with pytest.raises(ManifestError, match="id must be a number from 32769"):
        parse_manifest(GOOD.replace("0x8010", "0x10"), "echo.toml")


def test_calls_only_go_down_the_boot_order() -> None:
    """So that no two partitions can wait for each other."""
    low, high = manifest("low", 0x8001, 1, "high"), manifest("high", 0x8002, 2)
    assert check_together([high, low]) == (low, high)
    with pytest.raises(ManifestError, match="its caller 'low' must have a higher boot_order"):
        check_together([manifest("low", 0x8001, 1), manifest("high", 0x8002, 2, "low")])
    with pytest.raises(ManifestError, match="its caller 'high' must have a higher boot_order"):
        check_together([manifest("low", 0x8001, 1, "high"), manifest("high", 0x8002, 1, "low")])
    with pytest.raises(ManifestError, match="caller 'nobody' is no partition"):
        check_together([manifest("low", 0x8001, 1, "nobody")])


def test_names_and_ids_are_unique() -> None:
    with pytest.raises(ManifestError, match="the name 'one'"):
        check_together([manifest("one", 0x8001, 1), manifest("one", 0x8002, 2)])
    with pytest.raises(ManifestError, match="the id 32769"):
        check_together([manifest("one", 0x8001, 1), manifest("two", 0x8001, 2)])


def test_an_element_belongs_to_one_partition() -> None:
    text = GOOD + "secure_element = true\n"
    one, two = parse_manifest(text, "one"), parse_manifest(text.replace("echo", "two").replace("8010", "8011"), "two")
    assert check_together([one]) == (one,)
    with pytest.raises(ManifestError, match="a secure element belongs to one partition"):
        check_together([one, two])
    assert [built_in.name for built_in in built_in_manifests() if built_in.secure_element] == ["crypto"]


def test_built_in_partitions_offer_what_the_table_of_services_says() -> None:
    offered = [service for one in built_in_manifests() for service in one.services]
    assert len(set(offered)) == len(offered)
    known = {uuid for uuid, service in services.SERVICES.items() if service.is_offered}
    assert known <= set(offered)
