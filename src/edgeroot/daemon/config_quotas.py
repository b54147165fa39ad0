"""Reading ``[[quota]]``: what applications may at most."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, TypeVar

from edgeroot.daemon.config_values import About, Ours, TableReader, suggestion
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
_ABOUT_ALGORITHMS: Final = Ours(
    'For which algorithms they may make and use keys, under PSA\'s names: `"ECDSA(SHA_256)"`, `"GCM"`, '
    '`"RSA_PSS(ANY)"` (any hash). Otherwise: `PsaErrorNotPermitted`.',
    otherwise="all",
)
_ABOUT_USAGES: Final = Ours(
    "For what they may make and use keys: " + ", ".join(f'`"{name}"`' for name in _USAGES) + ". The two for hashes "
    "include those for messages. Otherwise: `PsaErrorNotPermitted`.",
    otherwise="all",
)


def read_quotas(root: TableReader, authenticators: Mapping[str, int]) -> tuple[Quota, ...]:
    """In the order of the file. ``authenticators`` are those that are configured, with their numbers on the wire."""
    return tuple(_read_quota(table, authenticators) for table in root.tables("quota"))


def _read_quota(table: TableReader, authenticators: Mapping[str, int]) -> Quota:
    authenticator = table.text("authenticator", Ours("Under which of the configured authenticators (`auth_type`)."))
    if authenticator and authenticator not in authenticators:
        told = suggestion(authenticator, authenticators)
        table.problem("authenticator", f'"{authenticator}" is not configured; {told}')
    about = Ours(
        'Names of applications, or beginnings of names with a `*` behind: `"spiffe://cluster.local/ns/shop/*"`.'
    )
    applications = table.texts("applications", about, required=True)
    max_keys = table.optional_integer(
        Limit.MAX_KEYS,
        Ours(
            "How many keys and stored objects each of them may have in one key manager's store. Beyond it: "
            "`PsaErrorInsufficientStorage`."
        ),
        minimum=1,
        maximum=_MAX,
    )
    rate = table.optional_integer(
        Limit.REQUESTS_PER_SECOND,
        Ours(
            "How many requests each of them may send, over all connections and workers. Beyond it: "
            "`PsaErrorInsufficientMemory`, and nothing was done; the request may be sent again a little later."
        ),
        minimum=1,
        maximum=_MAX_RATE,
    )
    burst = table.optional_integer(
        "burst",
        Ours("How many of them may come at once after a pause.", otherwise=f"`{Limit.REQUESTS_PER_SECOND}`"),
        minimum=1,
        maximum=_MAX_RATE,
    )
    if burst is not None and not rate:
        table.problem("burst", f"is for {Limit.REQUESTS_PER_SECOND}, which is absent")
    algorithms = _read_names(table, Limit.ALGORITHMS, _ABOUT_ALGORITHMS, _algorithms())
    usages = _read_names(table, Limit.USAGES, _ABOUT_USAGES, _USAGES)
    quota = Quota(
        authenticator=authenticators.get(authenticator, 0),
        applications=tuple(applications or ()),
        max_keys=max_keys or 0,
        requests_per_second=rate or 0,
        burst=burst or max(rate or 0, 1),
        algorithms=None if algorithms is None else frozenset(algorithms),
        usages=None if usages is None else _joined(usages),
    )
    table.finish()
    return quota


def _joined(flags: list[UsageFlags]) -> UsageFlags:
    joined = UsageFlags.NONE
    for flag in flags:
        joined |= flag
    return joined


def _read_names(table: TableReader, key: str, about: About, known: Mapping[str, T]) -> list[T] | None:
    """The values of PSA's names, without the prefix that all of them have; None if the key is absent."""
    names = table.texts(key, about)
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
