from __future__ import annotations

import pytest

from edgeroot.evidence import Lifecycle
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.policy import Policy, UnsignedComponents, parse_policy
from edgeroot.verifier.version import Version


def test_the_strictest_is_what_is_not_said() -> None:
    assert parse_policy("") == Policy()
    assert Policy().lifecycles == {Lifecycle.SECURED, Lifecycle.NON_PSA_ROT_DEBUG}
    assert not Policy().legacy_profile
    assert not Policy().extra_components
    assert not Policy().mac_tokens
    assert Policy().unsigned_components is UnsignedComponents.WARN


def test_every_key() -> None:
    text = 'lifecycles = ["unknown"]\nclient_ids = [-2, 5]\nlegacy_profile = true\nextra_components = true'
    assert parse_policy(text) == Policy(
        lifecycles=frozenset({Lifecycle.UNKNOWN}),
        client_ids=frozenset({-2, 5}),
        legacy_profile=True,
        extra_components=True,
    )
    text = 'mac_tokens = true\nunsigned_components = "match"\nleast_versions = { "PRoT" = "1.2.0", "BL" = "3.0.0+7" }'
    assert parse_policy(text) == Policy(
        mac_tokens=True,
        unsigned_components=UnsignedComponents.MATCH,
        least_versions={"PRoT": Version(1, 2), "BL": Version(3, 0, 0, 7)},
    )
    assert parse_policy("lifecycles = []").lifecycles == frozenset()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("=", "not TOML"),
        ("livecycles = []", "nearest valid one is 'lifecycles'"),
        ('lifecycles = "secured"', "lists"),
        ('lifecycles = ["safe"]', "there are unknown, assembly-and-test"),
        ("lifecycles = [12288]", "there are"),
        ("client_ids = [true]", "no number"),
        ('client_ids = ["-2"]', "no number"),
        ("tpm_application = 1000", "must be text"),
        ("tpm_authenticator = 256", "from 0 to 255"),
        ("tpm_authenticator = true", "from 0 to 255"),
        ("legacy_profile = 1", "true or false"),
        ("mac_tokens = 1", "true or false"),
        ('unsigned_components = "accept"', "one of match, warn, ignore"),
        ("unsigned_components = true", "one of match, warn, ignore"),
        ('least_versions = ["1.2.0"]', "is a table"),
        ('least_versions = { "PRoT" = "newest" }', "'newest' for PRoT"),
        ('least_versions = { "PRoT" = 1 }', "1 for PRoT"),
        ('extra_components = "no"', "true or false"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, words: str) -> None:
    with pytest.raises(VerifierError, match=words):
        parse_policy(text)
