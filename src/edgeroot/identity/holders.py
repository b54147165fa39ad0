"""Which pod holds which slot, as the kubelet tells (PodResources v1, ``List``)."""

from __future__ import annotations

import threading
from pathlib import Path
from time import monotonic
from typing import Final

import grpc

from edgeroot.auth.claims import Pod
from edgeroot.auth.identity import AuthenticationError
from edgeroot.kubelet.contract.generated.pod_resources_pb2 import ListPodResourcesRequest, ListPodResourcesResponse
from edgeroot.kubelet.contract.generated.pod_resources_pb2_grpc import PodResourcesListerStub

_TIMEOUT_S: Final = 1.0
_MAX_AGE_S: Final = 1.0
# The kubelet answers a hundred questions a second for everybody. Who is refused must not use them up by asking again.
_REFUSAL_HOLDS_S: Final = 0.25
_FAILURE_HOLDS_S: Final = 1.0
_MAX_REFUSALS: Final = 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

_Holder = tuple[str, str]


class SlotHolders:
    """Asks at the socket ``path`` who holds devices of ``resource``; slot 3 is the device ``slot-03``.

    A list is used for a second. If it names another pod than the one that calls, that pod may just have been started:
    then the kubelet is asked again.
    """

    def __init__(self, path: Path, resource: str) -> None:
        self._path = path
        self._resource = resource
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(f"unix:{path}", options=_OPTIONS)
        self._stub = PodResourcesListerStub(self._channel)
        self._holders: dict[str, frozenset[_Holder]] = {}
        self._asked_at_s = float("-inf")
        self._refused_at_s: dict[tuple[int, _Holder], float] = {}
        self._failed_at_s, self._failure = float("-inf"), ""

    def check(self, slot: int, pod: Pod) -> float:
        """How many seconds ago the pod held the slot; AuthenticationError if it does not, or if nobody can tell."""
        holder = (pod.namespace, pod.name)
        called_at_s = monotonic()
        with self._lock:
            # Where two pods are said to hold it, one of them is of the past, and it does not say which.
            if called_at_s - self._asked_at_s > _MAX_AGE_S or self._of(slot) != {holder}:
                self._ask_again(slot, holder, called_at_s)
            if self._of(slot) == {holder}:
                return monotonic() - self._asked_at_s
            self._remember_refusal(slot, holder)
        raise AuthenticationError(
            f"the token is of the pod {pod.namespace}/{pod.name}, which does not hold slot {slot}"
        )

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def _of(self, slot: int) -> frozenset[_Holder]:
        return self._holders.get(f"slot-{slot:02d}", frozenset())

    def _ask_again(self, slot: int, holder: _Holder, called_at_s: float) -> None:
        now_s = monotonic()
        refused_at_s = self._refused_at_s.get((slot, holder), float("-inf"))
        if self._asked_at_s >= called_at_s or now_s - refused_at_s < _REFUSAL_HOLDS_S:
            return
        # A kubelet that hangs holds up nobody but the first who asks.
        if now_s - self._failed_at_s < _FAILURE_HOLDS_S:
            raise AuthenticationError(self._failure)
        try:
            response = self._stub.List(ListPodResourcesRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code().name
            self._failure = (
                f"nobody can tell which pod holds a slot: the kubelet at {self._path} does not answer ({code})"
            )
            # Not even the last list is of use: slots change hands.
            self._holders, self._asked_at_s, self._failed_at_s = {}, float("-inf"), monotonic()
            raise AuthenticationError(self._failure) from error
        self._holders, self._asked_at_s = _by_device(response, self._resource), now_s

    def _remember_refusal(self, slot: int, holder: _Holder) -> None:
        if len(self._refused_at_s) >= _MAX_REFUSALS:
            self._refused_at_s.clear()
        now_s = monotonic()
        if now_s - self._refused_at_s.get((slot, holder), float("-inf")) >= _REFUSAL_HOLDS_S:
            self._refused_at_s[slot, holder] = now_s


def _by_device(response: ListPodResourcesResponse, resource: str) -> dict[str, frozenset[_Holder]]:
    found: dict[str, set[_Holder]] = {}
    for pod in response.pod_resources:
        for container in pod.containers:
            for devices in container.devices:
                if devices.resource_name == resource:
                    for device in devices.device_ids:
                        found.setdefault(device, set()).add((pod.namespace, pod.name))
    return {device: frozenset(holders) for device, holders in found.items()}
