"""Which objects there are, and when each is looked at again."""

from __future__ import annotations

from edgeroot.edge.following import LISTED, Agenda, Object, Objects, key_of


def made(name: str, generation: int = 1, namespace: str | None = None) -> Object:
    metadata: dict[str, object] = {"name": name, "generation": generation}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"metadata": metadata}


def is_new(before: Object | None, found: Object) -> bool:
    return before is None or before["metadata"]["generation"] != found["metadata"]["generation"]


def due(agenda: Agenda, now_s: float) -> list[str]:
    found = []
    while (key := agenda.next_due(now_s)) is not None:
        found.append(key)
    return found


def test_keys() -> None:
    assert key_of(made("a")) == "a"
    assert key_of(made("a", namespace="shop")) == "shop/a"


def test_a_list_says_what_is_gone() -> None:
    objects = Objects()
    assert objects.take((LISTED, [made("a"), made("b")])) == ["a", "b"]
    assert objects.take(("ADDED", [made("c")])) == ["c"]
    assert objects.take((LISTED, [made("b"), made("c")])) == ["b", "c"]
    assert set(objects) == {"b", "c"}
    assert objects.take(("DELETED", [made("b")])) == []
    assert set(objects) == {"c"}
    assert objects.take((LISTED, [])) == []
    assert objects == {}


def test_only_news_is_looked_at() -> None:
    agenda = Agenda()
    agenda.take((LISTED, [made("a")]), 0.0, is_news=is_new)
    assert due(agenda, 0.0) == ["a"]
    agenda.plan("a", 100.0)
    agenda.take(("MODIFIED", [made("a")]), 1.0, is_news=is_new)
    assert due(agenda, 50.0) == []
    agenda.take(("MODIFIED", [made("a", generation=2)]), 60.0, is_news=is_new)
    assert due(agenda, 60.0) == ["a"]
    assert due(agenda, 1000.0) == []


def test_what_is_gone_is_not_looked_at() -> None:
    agenda = Agenda()
    agenda.take((LISTED, [made("a"), made("b")]), 0.0, is_news=is_new)
    agenda.take(("DELETED", [made("a")]), 0.0, is_news=is_new)
    assert due(agenda, 1.0) == ["b"]


def test_pauses_are_until_the_next_and_no_longer_than_wanted() -> None:
    agenda = Agenda()
    assert agenda.pause_s(0.0, 5.0) == 5.0
    agenda.plan("a", 3.0)
    assert agenda.pause_s(0.0, 5.0) == 3.0
    assert agenda.pause_s(4.0, 5.0) == 0.0
    assert agenda.pause_s(0.0, 1.0) == 1.0
