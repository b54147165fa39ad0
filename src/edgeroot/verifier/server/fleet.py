"""What the page shows, as JSON that anybody with the viewer's token may read: the fleet, a device, the roll-out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.findings import ComponentVerdict
from edgeroot.verifier.fleet import WINDOW_DEFAULT_S, Device, Place, Selection, Standing
from edgeroot.verifier.ports import FeedRecords, FleetRecords
from edgeroot.verifier.rollout import Newest, Progress, rollout
from edgeroot.verifier.server import views
from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.feed import CHANGES_ROUTE, changes
from edgeroot.verifier.server.http import HttpError, Request, Response, json_response
from edgeroot.verifier.server.query import choice, number, octets, only
from edgeroot.verifier.server.routes import Route, Routes

DEVICE_ROUTE: Final = "/fleet/v1/device/{instance_id}"
LIST_MAX: Final = 200
LIST_DEFAULT: Final = 50
HISTORY_MAX: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """``window_s``: for how long a device counts as seen after its last result."""

    records: FleetRecords
    feed: FeedRecords
    access: Access
    now_s: Callable[[], int]
    window_s: int = WINDOW_DEFAULT_S

    def routes(self) -> Routes:
        return {
            ("GET", "/fleet/v1/summary"): Route("fleet-summary", self._summary, access=self.access),
            ("GET", "/fleet/v1/devices"): Route("fleet-devices", self._devices, access=self.access),
            ("GET", DEVICE_ROUTE): Route("fleet-device", self._device, access=self.access),
            ("GET", "/fleet/v1/rollout"): Route("fleet-rollout", self._rollout, access=self.access),
            ("GET", CHANGES_ROUTE): Route("fleet-changes", self._changes, access=self.access),
        }

    def _seen_after_s(self) -> int:
        return self.now_s() - self.window_s

    def _answer(self, **said: object) -> Response:
        return json_response(200, {"at": views.time_of(self.now_s()), **said})

    def _summary(self, request: Request, _argument: str) -> Response:
        only(request)
        counts = self.records.fleet_counts(self._seen_after_s())
        return self._answer(window_s=self.window_s, devices=sum(counts.values()), counts=dict(counts))

    def _devices(self, request: Request, _argument: str) -> Response:
        query = only(
            request,
            *("status", "search", "implementation", "progress", "component", "measurement"),
            *("after", "before", "limit"),
        )
        limit = number(query, "limit", most=LIST_MAX) or LIST_DEFAULT
        if "after" in query and "before" in query:
            raise HttpError(400, "give after or before, not both")
        try:
            after, before = (Place.parse(query[one]) if one in query else None for one in ("after", "before"))
            selection = Selection(
                standing=choice(query, "status", Standing),
                prefix=query.get("search", ""),
                firmware=self._firmware(query),
                after=after,
                before=before,
                limit=limit + 1,
            )
            found = list(self.records.fleet_devices(selection, self._seen_after_s()))
        except VerifierError as error:
            raise HttpError(400, str(error)) from error
        more = len(found) > limit
        shown = (found[1:] if before else found[:-1]) if more else found
        next_place = _place(shown[-1]) if shown and (more or before is not None) else None
        previous = _place(shown[0]) if shown and (more if before else after is not None) else None
        seen_after_s = self._seen_after_s()
        return self._answer(
            devices=[views.device_view(one, seen_after_s) for one in shown], next=next_place, previous=previous
        )

    def _firmware(self, query: Mapping[str, str]) -> frozenset[int] | None:
        """The combinations of components that are asked for; None if it does not matter."""
        implementation = octets(query, "implementation")
        progress = choice(query, "progress", Progress)
        component, measurement = query.get("component"), octets(query, "measurement")
        if query.keys().isdisjoint({"implementation", "progress", "component", "measurement"}):
            return None
        references = self.records.fleet_references() if progress is not None else {}
        newest = {one: Newest.of(known, self.records.component_revoked) for one, known in references.items()}
        nothing = Newest({})
        return frozenset(
            one.number
            for one in self.records.fleet_firmware()
            if implementation in {None, one.implementation_id}
            and progress in {None, newest.get(one.implementation_id, nothing).progress(one.components)}
            and _has(one.components, component, measurement)
        )

    def _device(self, request: Request, name: str) -> Response:
        query = only(request, "result", "before")
        instance_id = bytes.fromhex(name)
        device = self.records.fleet_device(instance_id)
        if device is None:
            raise HttpError(404, "no such device is endorsed")
        before, wanted = number(query, "before"), number(query, "result") or device.result
        history = self.records.fleet_history(instance_id, before=before, limit=HISTORY_MAX + 1)
        shown = self.records.fleet_history(instance_id, before=wanted + 1, limit=1)
        if "result" in query and (not shown or shown[0].number != wanted):
            raise HttpError(404, "the device has no such result, or it is kept no longer")
        references = self.records.components_of(device.implementation_id) or set()
        listed = history[:HISTORY_MAX]
        return self._answer(
            device=views.device_view(device, self._seen_after_s()),
            revoked=self.records.device_revoked(instance_id),
            result=views.result_view(shown[0], references, self.records.component_revoked) if shown else None,
            history=[views.history_view(one) for one in listed],
            next=listed[-1].number if len(history) > HISTORY_MAX else None,
        )

    def _rollout(self, request: Request, _argument: str) -> Response:
        only(request)
        references = self.records.fleet_references()
        states = rollout(self.records.fleet_firmware(), references, self.records.component_revoked)
        return self._answer(implementations=[views.implementation_view(one) for one in states])

    def _changes(self, request: Request, _argument: str) -> Response:
        return changes(self.feed, request)


def _has(components: Sequence[ComponentVerdict], name: str | None, measurement: bytes | None) -> bool:
    """Whether one of them is what is asked for, of name and measurement."""
    if name is None and measurement is None:
        return True
    return any(name in {None, one.name} and measurement in {None, one.measurement} for one in components)


def _place(device: Device) -> str:
    return Place(device.at_s, device.instance_id).text()
