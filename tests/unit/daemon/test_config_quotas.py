from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.daemon.config import ConfigError, Host, ServiceConfig, parse_config
from edgeroot.providers.software import SoftwareProviderType
from edgeroot.psa import Algorithm, Hash, UsageFlags
from edgeroot.service.quotas import Quota

BASE = """
[listener]
listener_type = "DomainSocket"
timeout = 200
[authenticator]
auth_type = "Direct"
[[key_manager]]
name = "keys"
manager_type = "SQLite"
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "keys"
"""
QUOTA = '[[quota]]\nauthenticator = "Direct"\napplications = ["shop"]\n'


def parse(text: str) -> ServiceConfig:
    return parse_config(BASE + text, {"MbedCrypto": SoftwareProviderType()}, host=Host(Path("/srv"), 3))


def test_a_quota_without_bounds_bounds_nothing() -> None:
    assert parse("").quotas == ()
    assert parse(QUOTA).quotas == (Quota(authenticator=1, applications=("shop",)),)


def test_everything_is_read_in_the_order_of_the_file() -> None:
    bounds = (
        'max_keys = 2\nrequests_per_second = 50\nburst = 5\nalgorithms = ["GCM"]\nusages = ["ENCRYPT", "DECRYPT"]\n'
    )
    first, second = parse(QUOTA + bounds + QUOTA.replace('"shop"', '"a", "b*"') + "requests_per_second = 7\n").quotas
    assert first == Quota(
        authenticator=1,
        applications=("shop",),
        max_keys=2,
        requests_per_second=50,
        burst=5,
        algorithms=frozenset((Algorithm.GCM,)),
        usages=UsageFlags.ENCRYPT | UsageFlags.DECRYPT,
    )
    assert second == Quota(authenticator=1, applications=("a", "b*"), requests_per_second=7, burst=7)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("ECDSA(SHA_256)", Algorithm.ecdsa(Hash.SHA_256)),
        ("PSA_ALG_ECDSA(PSA_ALG_SHA_256)", Algorithm.ecdsa(Hash.SHA_256)),
        ("ecdsa:sha-256", Algorithm.ecdsa(Hash.SHA_256)),
        ("DETERMINISTIC_ECDSA(SHA_384)", Algorithm.deterministic_ecdsa(Hash.SHA_384)),
        ("RSA_PSS(ANY)", Algorithm.rsa_pss(Hash.ANY)),
        ("RSA_PKCS1V15_SIGN(SHA_512)", Algorithm.rsa_pkcs1v15_sign(Hash.SHA_512)),
        ("RSA_OAEP(SHA_1)", Algorithm.rsa_oaep(Hash.SHA_1)),
        ("HMAC(SHA3_256)", Algorithm.hmac(Hash.SHA3_256)),
        ("CHACHA20_POLY1305", Algorithm.CHACHA20_POLY1305),
        ("PSA_ALG_CBC_NO_PADDING", Algorithm.CBC_NO_PADDING),
        ("ECDH", Algorithm.ECDH),
    ],
)
def test_algorithms_have_psas_names(name: str, algorithm: Algorithm) -> None:
    assert parse(f'{QUOTA}algorithms = ["{name}"]\n').quotas[0].algorithms == frozenset((algorithm,))


@pytest.mark.parametrize("flag", [flag for flag in UsageFlags if flag])
def test_usages_have_psas_names(flag: UsageFlags) -> None:
    for name in (flag.name, f"PSA_KEY_USAGE_{flag.name}"):
        assert parse(f'{QUOTA}usages = ["{name}"]\n').quotas[0].usages == flag


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (QUOTA.replace("Direct", "Drect"), 'quota[0].authenticator: "Drect" is not configured; did you mean "Direct"?'),
        ('[[quota]]\napplications = ["a"]\n', "quota[0].authenticator: is required: a string"),
        ('[[quota]]\nauthenticator = "Direct"\n', "quota[0].applications: is required: an array"),
        (QUOTA.replace('["shop"]', "[]"), "quota[0].applications: must be an array of strings, at least one"),
        (QUOTA + "max_keys = 0\n", "quota[0].max_keys: must be from 1 to 2147483647, not 0"),
        (QUOTA + 'max_keys = "2"\n', "quota[0].max_keys: must be an integer, not a string"),
        (QUOTA + "burst = 2\n", "quota[0].burst: is for requests_per_second, which is absent"),
        (
            QUOTA + 'algorithms = ["ECDSA(SHA_255)"]\n',
            'quota[0].algorithms: "ECDSA(SHA_255)" is not known here; did you mean "ECDSA(SHA_256)"?',
        ),
        (QUOTA + 'usages = ["SIGNHASH", "SIG"]\n', 'quota[0].usages: "SIG" is not known here; '),
        (QUOTA + "max_key = 2\n", 'quota[0].max_key: unknown key; did you mean "max_keys"?'),
    ],
)
def test_a_fault_is_named_with_its_key(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    (problem,) = error.value.problems
    assert problem.startswith(expected)
