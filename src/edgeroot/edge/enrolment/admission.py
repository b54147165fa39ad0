"""Which device may be which node. An ``EdgeNode`` that an operator made says it; or a rule, if one was given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgeroot.edge.enrolment.binding import derived_name, is_node_name
from edgeroot.edge.enrolment.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNode:
    """What an ``EdgeNode`` says. ``token_id`` is that of the last bootstrap token made for it, if there was one."""

    name: str
    device: str
    token_id: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``admit_affirmed``: devices that nobody has listed may join if the verifier affirms them, under names that fit
    ``name_pattern``, in which ``*`` stands for anything.
    """

    admit_affirmed: bool = False
    name_pattern: str = "edge-*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """``known`` None: the device is new, and its ``EdgeNode`` is to be made."""

    name: str
    known: KnownNode | None


def admit(
    device: str, wanted: str, *, of_device: Iterable[KnownNode], of_name: KnownNode | None, rules: Rules
) -> Admission:
    """Whether an affirmed device may be the node that it wants to be; ``wanted`` empty: whichever it may be.

    ``of_device`` are all EdgeNodes with this device, ``of_name`` the one that is called as wanted. RefusedError.
    """
    if of_name is not None and of_name.device != device:
        raise RefusedError(f"the name {wanted} belongs to another device")
    # The one of this name is among them, unless an operator wrote the device otherwise than the API server looks for.
    by_name = {one.name: one for one in (*of_device, *(() if of_name is None else (of_name,)))}
    own = [by_name[name] for name in sorted(by_name)]
    if len(own) > 1:
        raise RefusedError(f"several EdgeNodes name device {device} ({', '.join(sorted(by_name))}): delete all but one")
    if own:
        if wanted not in ("", own[0].name):
            raise RefusedError(f"device {device} is the node {own[0].name}, and no other")
        return Admission(name=own[0].name, known=own[0])
    if not rules.admit_affirmed:
        raise RefusedError(
            f"nobody has admitted device {device}: an operator creates an EdgeNode with this as its spec.device"
        )
    name = wanted or derived_name(device)
    if not is_node_name(name) or not fnmatchcase(name, rules.name_pattern):
        raise RefusedError(f"new devices join under names like {rules.name_pattern}, and not as {name}")
    return Admission(name=name, known=None)
