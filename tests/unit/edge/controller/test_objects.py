from __future__ import annotations

import json
from dataclasses import replace

import msgspec
from lightkube.resources import core_v1

from edgeroot.edge.controller.actions import Announcement, status_document
from edgeroot.edge.controller.lease import Record
from edgeroot.edge.controller.names import ATTESTED_LABEL
from edgeroot.edge.controller.objects import edge_of, event_of, lease_of, micro_time, node_of, record_of
from edgeroot.edge.controller.records import Node, Selector, State, Status, Taint
from tests.unit.edge.controller.test_verdict import EDGE, GOOD, NOON_S

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "gateway-7",
        "uid": "n1",
        "resourceVersion": "412",
        "labels": {ATTESTED_LABEL: "true", "edgeroot.dev/edge": "true"},
    },
    "spec": {
        "taints": [
            {"key": "dedicated", "value": "cameras", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-11-27T12:00:00Z"},
        ]
    },
    "status": {"images": [{"names": ["registry.example/a"], "sizeBytes": 1}]},
}


def decoded(document: object) -> core_v1.Node:
    return msgspec.json.decode(json.dumps(document).encode(), type=core_v1.Node)


def test_of_a_node_only_what_decides_is_kept() -> None:
    assert node_of(decoded(NODE), Selector()) == Node(
        name="gateway-7",
        uid="n1",
        version="412",
        attested="true",
        selected=True,
        taints=(
            Taint("dedicated", "NoSchedule", "cameras"),
            Taint("node.kubernetes.io/unreachable", "NoExecute", "", "2026-11-27T12:00:00Z"),
        ),
    )
    assert node_of(decoded(NODE), None).selected is False


def test_a_node_may_lack_nearly_everything() -> None:
    bare = {"metadata": {"name": "gateway-7", "uid": "n1", "resourceVersion": "1"}}

    assert node_of(decoded(bare), Selector()) == Node(name="gateway-7", uid="n1", version="1")


def test_an_edge_node_is_read_with_the_status_that_was_written() -> None:
    status = Status(state=State.AFFIRMED, reason="r", result=GOOD, node_uid="n1", since_s=NOON_S)
    document = {
        "metadata": {"name": "gateway-7", "uid": "e1", "resourceVersion": "1"},
        "spec": {"device": "01ab"},
        "status": {**status_document(status), "inventory": {"providers": ["TrustedService"]}},
    }

    assert edge_of(document) == replace(EDGE, status=status)
    assert edge_of({**document, "status": {"inventory": {}}}) == EDGE


def test_an_event_is_about_its_edge_node_and_not_too_long() -> None:
    announcement = Announcement(name="gateway-7", uid="e1", state=State.CONTRAINDICATED, note="ü" * 2000)

    event = event_of(announcement, NOON_S, "replica-1")

    assert (event.type, event.reason) == ("Warning", "Contraindicated")
    assert event.note == "ü" * 512
    assert event.regarding is not None
    assert (event.regarding.kind, event.regarding.name, event.regarding.uid) == ("EdgeNode", "gateway-7", "e1")


def test_a_time_is_written_with_six_decimals_whatever_it_is() -> None:
    for at_s in (NOON_S, NOON_S + 0.25):
        text = msgspec.json.encode(micro_time(at_s)).decode().strip('"')
        assert len(text.partition(".")[2]) == len("250000Z")


def test_a_lease_is_read_as_it_was_written() -> None:
    record = Record(version="7", holder="replica-1", transitions=3)

    lease = lease_of(record, name="edgeroot-controller", namespace="edgeroot-system", now_s=NOON_S)

    assert record_of(lease) == record
    given_up = lease_of(replace(record, holder=""), name="n", namespace="n", now_s=NOON_S)
    assert record_of(given_up).holder == ""
