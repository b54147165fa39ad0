"""Reading ``[[quota]]``: what applications may at most."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, TypeVar

from edgeroot.daemon.config_values import TableReader, suggestion
from edgeroot.psa import Algorithm, Hash, UsageFlags
from edgeroot.service.quotas import Limit, Quota

T = TypeVar("T")
_MAX: Final = 2**31 - 1
_MAX_RATE: Final = 1_000_000
_HASHED: Final = (
    Algorithm.hmac,
    Algorithm.rsa_pkcs1v15_sign,
    Algorithm.rsa_pss,
    Algorithm.ecdsa,
    Algorithm.deterministic_ecdsa,
    Algorithm.rsa_oaep,
    Algorithm.hkdf,
)
_USAGES: Final = {str(flag.name): flag for flag in UsageFlags}


def read_quotas(root: TableReader, authenticators: Mapping[str, int]) -> tuple[Quota, ...]:
    """In the order of the file. ``authenticators`` are those that are configured, with their numbers on the wire."""
    return tuple(_read_quota(table, authenticators) for table in root.tables("quota"))


def _read_quota(table: TableReader, authenticators: Mapping[str, int]) -> Quota:
    authenticator = table.text("authenticator")
    if authenticator and authenticator not in authenticators:
        told = suggestion(authenticator, authenticators)
        table.problem("authenticator", f'"{authenticator}" is not configured; {told}')
    applications = table.texts("applications")
    if applications is None and not table.has("applications"):
        table.problem("applications", "is required: an array of names, or of beginnings of names with a * behind")
    rate = _bound(table, Limit.REQUESTS_PER_SECOND, _MAX_RATE)
    if table.has("burst") and not rate:
        table.problem("burst", f"is for {Limit.REQUESTS_PER_SECOND}, which is absent")
    usages = _read_names(table, Limit.USAGES, _USAGES)
    algorithms = _read_names(table, Limit.ALGORITHMS, _algorithms())
    quota = Quota(
        authenticator=authenticators.get(authenticator, 0),
        applications=tuple(applications or ()),
        max_keys=_bound(table, Limit.MAX_KEYS, _MAX),
        requests_per_second=rate,
        burst=table.integer("burst", max(rate, 1), minimum=1, maximum=_MAX_RATE),
        algorithms=None if algorithms is None else frozenset(algorithms),
        usages=None if usages is None else _joined(usages),
    )
    table.finish()
    return quota


def _bound(table: TableReader, key: Limit, maximum: int) -> int:
    """0 where it is absent, which is no bound."""
    if table.has(key):
        return table.integer(key, minimum=1, maximum=maximum)
    table.raw(key, int, required=False)  # so that it is known
    return 0


def _joined(flags: list[UsageFlags]) -> UsageFlags:
    joined = UsageFlags.NONE
    for flag in flags:
        joined |= flag
    return joined


def _read_names(table: TableReader, key: str, known: Mapping[str, T]) -> list[T] | None:
    """The values of PSA's names, without the prefix that all of them have; None if the key is absent."""
    names = table.texts(key)
    if names is None:
        return None
    by_plain_name = {_plain(name): value for name, value in known.items()}
    found = []
    for name in names:
        value = by_plain_name.get(_plain(name))
        if value is None:
            table.problem(key, f'"{name}" is not known here; {suggestion(name, known)}')
        else:
            found.append(value)
    return found


def _plain(name: str) -> str:
    """``PSA_ALG_ECDSA(PSA_ALG_SHA_256)``, ``ECDSA(SHA_256)`` and ``ecdsa:sha-256`` are one name."""
    return re.sub(r"psa_(alg|key_usage)_|[\s_:()-]", "", name.lower())


@cache
def _algorithms() -> dict[str, Algorithm]:
    plain = [value for value in vars(Algorithm).values() if isinstance(value, Algorithm) and value]
    hashed = [family(hash_alg) for family in _HASHED for hash_alg in Hash]
    return {repr(algorithm): algorithm for algorithm in [*plain, *hashed]}
