"""What applications may at most, as the pipeline holds them to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeroot.auth import Identity
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.service.quotas import Limit, Quota, QuotaError, Quotas
from edgeroot.wire import operations as ops
from edgeroot.wire.status import ResponseStatus as Status
from tests.unit.service.pipeline_kit import ES256, P256, BackEnd, BlobBackEnd, Harness

PLAIN = Quota(authenticator=4, applications=("spiffe://a/ns/shop/*", "spiffe://a/ns/yard/sa/camera"))
RSA = KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, UsageFlags.SIGN_HASH, Algorithm.rsa_pss(Hash.SHA_256))
USER = Quota(authenticator=3, applications=("1000",))
EXPORTABLE = replace(P256, usage=P256.usage | UsageFlags.EXPORT)


class NoRates:
    """Lets ``left`` requests through."""

    def __init__(self, left: int = 10**9) -> None:
        self.left = left
        self.asked: list[tuple[Identity, int, int]] = []

    def take(self, identity: Identity, *, interval_ns: int, burst: int) -> bool:
        self.asked.append((identity, interval_ns, burst))
        self.left -= 1
        return self.left >= 0


def harness_with(*quotas: Quota, rates: NoRates | None = None, blob: bool = False) -> Harness:
    return Harness(BlobBackEnd() if blob else BackEnd(), quotas=Quotas(quotas, rates or NoRates()))


def generate(name: str, attributes: KeyAttributes = P256) -> ops.PsaGenerateKey:
    return ops.PsaGenerateKey(name, attributes)


@pytest.mark.parametrize(
    ("identity", "covered"),
    [
        (Identity(4, "spiffe://a/ns/shop/sa/till"), True),
        (Identity(4, "spiffe://a/ns/shop/"), True),
        (Identity(4, "spiffe://a/ns/yard/sa/camera"), True),
        (Identity(4, "spiffe://a/ns/yard/sa/camera2"), False),
        (Identity(4, "spiffe://a/ns/shops/sa/till"), False),
        (Identity(1, "spiffe://a/ns/shop/sa/till"), False),
    ],
)
def test_a_quota_is_for_names_and_beginnings_of_names(identity: Identity, covered: bool) -> None:
    assert PLAIN.covers(identity) is covered


def test_the_first_quota_that_covers_an_application_holds() -> None:
    everybody = replace(PLAIN, applications=("*",))
    quotas = Quotas((PLAIN, everybody), NoRates())
    assert quotas.of(Identity(4, "spiffe://a/ns/shop/sa/till")) is PLAIN
    assert quotas.of(Identity(4, "spiffe://b")) is everybody
    assert quotas.of(Identity(3, "1000")) is None


@pytest.mark.parametrize("blob", [False, True])
def test_no_more_keys_than_the_quota_says(blob: bool) -> None:
    harness = harness_with(replace(USER, max_keys=2), blob=blob)
    assert [harness.status(generate(name)) for name in ("a", "b")] == [Status.SUCCESS] * 2
    assert harness.status(generate("b")) is Status.PSA_ERROR_ALREADY_EXISTS
    assert harness.status(generate("c")) is Status.PSA_ERROR_INSUFFICIENT_STORAGE
    assert harness.observed[-1][0].beyond is Limit.MAX_KEYS
    assert {identity.key_name for identity in harness.model.keys} == {"a", "b"}
    assert harness.status(ops.PsaDestroyKey("a")) is Status.SUCCESS
    assert harness.status(generate("c")) is Status.SUCCESS


def test_who_has_no_quota_is_not_bounded() -> None:
    harness = harness_with(replace(PLAIN, applications=("*",), max_keys=1))
    assert [harness.status(generate(name)) for name in ("a", "b")] == [Status.SUCCESS] * 2


def test_requests_beyond_the_rate_are_refused_before_anything_is_done() -> None:
    rates = NoRates(left=1)
    harness = harness_with(replace(USER, requests_per_second=4, burst=7), rates=rates)
    assert harness.status(generate("a")) is Status.SUCCESS
    assert harness.status(generate("b")) is Status.PSA_ERROR_INSUFFICIENT_MEMORY
    assert harness.status(ops.ListKeys()) is Status.PSA_ERROR_INSUFFICIENT_MEMORY
    assert harness.observed[-1][0].beyond is Limit.REQUESTS_PER_SECOND
    assert rates.asked == [(Identity(3, "1000"), 250_000_000, 7)] * 3
    assert {identity.key_name for identity in harness.model.keys} == {"a"}


def test_only_algorithms_of_the_quota() -> None:
    harness = harness_with(replace(USER, algorithms=frozenset((Algorithm.rsa_pss(Hash.SHA_256),))))
    assert harness.status(generate("key")) is Status.PSA_ERROR_NOT_PERMITTED
    assert harness.observed[-1][0].beyond is Limit.ALGORITHMS
    assert harness.model.keys == {}


@pytest.mark.parametrize(("algorithm", "allowed"), [(ES256, True), (Algorithm.ecdsa(Hash.SHA_384), False)])
def test_a_key_from_before_the_quota_is_used_within_it_only(algorithm: Algorithm, allowed: bool) -> None:
    harness = Harness(BackEnd())
    assert harness.status(generate("key")) is Status.SUCCESS
    bounded = harness_with(replace(USER, algorithms=frozenset((algorithm,))))
    bounded.model.keys.update(harness.model.keys)
    assert isinstance(bounded.provider, BackEnd)
    bounded.provider.keys.add(b"place 1")
    status = bounded.status(ops.PsaSignHash("key", ES256, bytes(32)))
    assert status is (Status.SUCCESS if allowed else Status.PSA_ERROR_NOT_PERMITTED)
    assert bounded.observed[-1][0].beyond is (None if allowed else Limit.ALGORITHMS)


def test_only_usages_of_the_quota() -> None:
    harness = harness_with(replace(USER, usages=UsageFlags.SIGN_HASH))
    assert harness.status(generate("key")) is Status.SUCCESS  # signing hashes implies signing messages
    assert harness.status(generate("out", EXPORTABLE)) is Status.PSA_ERROR_NOT_PERMITTED
    assert harness.observed[-1][0].beyond is Limit.USAGES
    assert harness.status(ops.PsaSignHash("key", ES256, bytes(32))) is Status.SUCCESS


@pytest.mark.parametrize(
    ("quota", "usage", "algorithm", "limit"),
    [
        (replace(USER, usages=UsageFlags.ENCRYPT), UsageFlags.SIGN_HASH, ES256, Limit.USAGES),
        (replace(USER, usages=UsageFlags.SIGN_HASH), UsageFlags.SIGN_MESSAGE, ES256, None),
        (replace(USER, usages=UsageFlags.SIGN_MESSAGE), UsageFlags.SIGN_HASH, ES256, Limit.USAGES),
        (replace(USER, usages=UsageFlags.SIGN_HASH), UsageFlags.EXPORT, None, Limit.USAGES),
        (replace(USER, usages=UsageFlags.SIGN_HASH), UsageFlags.NONE, None, None),  # a public key
        (replace(USER, algorithms=frozenset((Algorithm.ecdsa(Hash.ANY),))), UsageFlags.SIGN_HASH, ES256, None),
        (
            replace(USER, algorithms=frozenset((ES256,))),
            UsageFlags.SIGN_HASH,
            Algorithm.ecdsa(Hash.ANY),
            Limit.ALGORITHMS,
        ),
        (USER, UsageFlags.EXPORT, None, None),
    ],
)
def test_uses(quota: Quota, usage: UsageFlags, algorithm: Algorithm | None, limit: Limit | None) -> None:
    if limit is None:
        quota.check_use(usage, algorithm)
    else:
        with pytest.raises(QuotaError) as beyond:
            quota.check_use(usage, algorithm)
        assert beyond.value.limit is limit


def test_a_key_for_nothing_in_particular_may_be_made() -> None:
    replace(USER, algorithms=frozenset((ES256,))).check_new_key(replace(RSA, algorithm=Algorithm.NONE))
