"""Tables of the reference that stand in hand-written pages, between two marks, and are made of what the code says.

``<!-- table: NAME -->`` and ``<!-- end of table -->`` mark the place of a table: a table of the service's configuration
(``listener``), the settings of a kind of provider (``provider Tpm``), or what is counted (``counted``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from edgeroot.daemon.config import DEFAULT_STORES, Host, read_document
from edgeroot.daemon.config_tokens import JWT_SVID
from edgeroot.daemon.config_values import MAX_MILLISECONDS, Findings, KnownKey, Ours, TableReader
from edgeroot.daemon.metrics import CounterTable, Totals
from edgeroot.daemon.metrics_text import MetricsText, Snapshot
from edgeroot.providers.api import ProviderType
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus

_PLACE: Final = re.compile(r"(<!-- table: ([^\n]+) -->\n).*?(<!-- end of table -->\n)", re.DOTALL)
_NAMES: Final = {bool: "boolean", int: "integer", str: "string", list: "array of strings", dict: "table"}
_NOWHERE: Final = Host(Path(), 1, lambda name: 0)
# Whatever is asked for depends on these alone, and not on whether the rest makes sense.
_EVERYTHING: Final[Mapping[str, object]] = {
    "listener": {},
    "authenticator": {"auth_type": JWT_SVID, "admins": [{}], "applications": [{}], "kubernetes": {}},
    "key_manager": [{"manager_type": kind} for kind in DEFAULT_STORES],
    "metrics": {},
    "quota": {},
}


def tables(provider_types: Mapping[str, ProviderType]) -> dict[str, str]:
    """Every table by its name, as Markdown."""
    known = _known({**_EVERYTHING, "provider": {}}, {})
    common = known["provider"]
    made = {name: _keys(name, known) for name in known if name and not _stands_inline(name, known)}
    for kind, provider_type in provider_types.items():
        with_its_own = _known({"provider": {"provider_type": kind}}, {kind: provider_type})["provider"]
        own = {name: key for name, key in with_its_own.items() if name not in common}
        made[f"provider {kind}"] = _keys("provider", {"provider": own})
    made["counted"] = _metrics()
    return made


def fill(text: str, made: Mapping[str, str]) -> tuple[str, set[str]]:
    """A page with its tables as they are made, and which these were. KeyError for one that nothing is known of."""
    names = {found[2] for found in _PLACE.finditer(text)}
    return _PLACE.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", text), names


def _known(document: dict[str, object], provider_types: Mapping[str, ProviderType]) -> dict[str, dict[str, KnownKey]]:
    findings = Findings("everything")
    read_document(TableReader(document, "", findings), provider_types, _NOWHERE)
    return findings.known


def _stands_inline(name: str, known: Mapping[str, Mapping[str, KnownKey]]) -> bool:
    """Whether the table that has it says what is in it."""
    above, _, key = name.rpartition(".")
    return bool(above) and known[above][key].kind is list


def _keys(table: str, known: Mapping[str, Mapping[str, KnownKey]]) -> str:
    rows = []
    # Where all of a table is ours, the heading above it says so.
    marked = table == "provider" or not all(isinstance(key.about, Ours) for key in known[table].values())
    for name, key in known[table].items():
        if key.about is None or not key.about.meaning:
            raise ValueError(f"nothing says what {table}.{name} means")
        label = f"`{name}` (*ours*)" if marked and isinstance(key.about, Ours) else f"`{name}`"
        inner = known.get(f"{table}.{name}", {}) if key.kind is list else {}
        kind = f"array of tables with {' and '.join(f'`{one}`' for one in inner)}" if inner else _kind(key)
        rows.append((label, kind, _default(key), key.about.meaning))
    return _markdown(("key", "type", "default", "meaning"), rows)


def _kind(key: KnownKey) -> str:
    if key.choices:
        return ", ".join(f"`{json.dumps(one)}`" for one in key.choices)
    if key.bounds is None:
        return _NAMES[key.kind]
    least, most = key.bounds
    return f"integer, from {least}" if most >= MAX_MILLISECONDS else f"integer, {least} to {most}"


def _default(key: KnownKey) -> str:
    if key.required:
        return "required"
    if key.about is not None and key.about.otherwise:
        return key.about.otherwise
    if key.default is None or key.default is MISSING:
        return "–"
    value = key.default.decode() if isinstance(key.default, bytes) else key.default
    return f"`{json.dumps(value)}`"


def _metrics() -> str:
    counters = CounterTable(1)
    counters.counters(0).answered(Opcode.PING, ResponseStatus.SUCCESS, 1)
    taken = Snapshot(Totals().plus(counters), 1, 0, {"worker": 0}, {"": 0})
    rows = []
    for family in text_string_to_metric_families(MetricsText(lambda: taken)().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        rows.append((f"`{name}`", family.type, ", ".join(f"`{one}`" for one in labels), family.documentation))
    return _markdown(("metric", "type", "labels", "meaning"), rows)


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += ["".join(f"| {cell} ".replace("|  ", "| ") for cell in row) + "|" for row in rows]
    return "\n".join(["", *lines, "", ""])
