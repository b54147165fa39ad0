"""What an application may at most: how many keys, how often, which algorithms, which usages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

from edgeroot.auth import Identity
from edgeroot.psa import Algorithm, KeyAttributes, UsageFlags
from edgeroot.psa.policy import permits
from edgeroot.wire.status import ResponseStatus, WireError

_KNOWN: Final = 4096
_NS_PER_S: Final = 1_000_000_000
_ANY: Final = "*"


class Limit(StrEnum):
    """What of a quota is used up or not granted, by its name in the configuration."""

    MAX_KEYS = "max_keys"
    REQUESTS_PER_SECOND = "requests_per_second"
    ALGORITHMS = "algorithms"
    USAGES = "usages"


# PSA has no status for haste. INSUFFICIENT_MEMORY is the one that says of nothing but the moment that it is a bad one.
_STATUS: Final = {
    Limit.MAX_KEYS: ResponseStatus.PSA_ERROR_INSUFFICIENT_STORAGE,
    Limit.REQUESTS_PER_SECOND: ResponseStatus.PSA_ERROR_INSUFFICIENT_MEMORY,
    Limit.ALGORITHMS: ResponseStatus.PSA_ERROR_NOT_PERMITTED,
    Limit.USAGES: ResponseStatus.PSA_ERROR_NOT_PERMITTED,
}


class QuotaError(WireError):
    """The request is beyond its application's quota."""

    def __init__(self, limit: Limit, detail: str) -> None:
        super().__init__(_STATUS[limit], f"beyond the quota's {limit}: {detail}")
        self.limit = limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """``[[quota]]``, for these names under one authenticator; one that ends in ``*`` stands for all that begin so.

    None and 0 are no bound. ``burst`` is how many requests may come at once after a pause.
    """

    authenticator: int
    applications: tuple[str, ...]
    max_keys: int = 0
    requests_per_second: int = 0
    burst: int = 1
    algorithms: frozenset[Algorithm] | None = None
    usages: UsageFlags | None = None

    def covers(self, identity: Identity) -> bool:
        """Whether it is this application's quota, unless an earlier one is."""
        return identity.authenticator == self.authenticator and any(
            identity.application.startswith(name.removesuffix(_ANY)) if name.endswith(_ANY) else name == identity[1]
            for name in self.applications
        )

    def check_use(self, usage: UsageFlags, algorithm: Algorithm | None) -> None:
        """QuotaError unless a key may be used so. ``usage`` names alternatives, as for the key's own policy."""
        if self.usages is not None and usage and not usage & self.usages.with_implied():
            raise QuotaError(Limit.USAGES, usage.name or "none")
        if algorithm is not None:
            self._check_algorithm(algorithm)

    def check_new_key(self, attributes: KeyAttributes) -> None:
        """QuotaError unless a key may be made with such a policy."""
        if self.usages is not None and (excess := attributes.usage & ~self.usages.with_implied()):
            raise QuotaError(Limit.USAGES, excess.name or "none")
        if attributes.algorithm != Algorithm.NONE:
            self._check_algorithm(attributes.algorithm)

    def _check_algorithm(self, algorithm: Algorithm) -> None:
        if self.algorithms is not None and not _is_among(algorithm, self.algorithms):
            raise QuotaError(Limit.ALGORITHMS, repr(algorithm))


@lru_cache(maxsize=1024)
def _is_among(algorithm: Algorithm, allowed: frozenset[Algorithm]) -> bool:
    return any(one == algorithm or permits(one, algorithm) for one in allowed)


class Rates(Protocol):
    """Counts requests over all workers."""

    def take(self, identity: Identity, *, interval_ns: int, burst: int) -> bool:
        """Whether the application may have one more, of one each ``interval_ns`` and ``burst`` at once."""


class Quotas:
    """The quotas of a service. One instance a worker."""

    def __init__(self, quotas: Sequence[Quota], rates: Rates) -> None:
        self._quotas = quotas
        self._rates = rates
        self._known: dict[Identity, Quota | None] = {}

    def of(self, identity: Identity) -> Quota | None:
        """The first quota that covers the application."""
        try:
            return self._known[identity]
        except KeyError:
            found = next((quota for quota in self._quotas if quota.covers(identity)), None)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[identity] = found
        return found

    def admit(self, identity: Identity) -> Quota | None:
        """As :meth:`of`, and counts a request; QuotaError if it comes too soon."""
        quota = self.of(identity)
        if quota is not None and quota.requests_per_second:
            interval_ns = _NS_PER_S // quota.requests_per_second
            if not self._rates.take(identity, interval_ns=interval_ns, burst=quota.burst):
                raise QuotaError(Limit.REQUESTS_PER_SECOND, f"more than {quota.requests_per_second}")
        return quota
