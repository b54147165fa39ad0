from __future__ import annotations

from datetime import timedelta

import pytest

from edgeroot.edge.certificates.resource import ResourceError, read
from edgeroot.psa import UsageFlags
from tests.unit.edge.certificates.support import resource


def test_what_is_not_said_has_a_default() -> None:
    found = read(resource())
    assert (found.key_name, found.config_map_name, found.key_algorithm) == ("till", "till", "ECDSA-P256")
    assert found.duration == timedelta(days=90)
    assert found.usages == ("digital signature", "client auth", "server auth")


@pytest.mark.parametrize("algorithm", ["ECDSA-P256", "ECDSA-P384", "RSA-2048", "RSA-3072"])
def test_no_key_may_be_exported(algorithm: str) -> None:
    assert not read(resource(keyAlgorithm=algorithm)).attributes.usage & UsageFlags.EXPORT


@pytest.mark.parametrize(
    ("text", "duration"),
    [("10m", timedelta(minutes=10)), ("1h30m", timedelta(hours=1.5)), ("7200s", timedelta(hours=2))],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert read(resource(duration=text)).duration == duration


@pytest.mark.parametrize("text", ["", "9m", "1d", "h", "-1h", "87601h", "1h 30m", "9" * 40 + "h"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ResourceError, match=r"spec\.duration"):
        read(resource(duration=text))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeName", ""),
        ("serviceAccountName", None),
        ("signerName", None),
        ("keyAlgorithm", "RSA-1024"),
        ("ipAddresses", ["192.0.2.256"]),
        ("usages", ["client auth", "cert sign"]),
        ("commonName", "system:admin"),
        ("organizations", ["a", "system:masters"]),
    ],
)
def test_bad_fields_are_named(field: str, value: object) -> None:
    made = resource()
    made["spec"][field] = value
    with pytest.raises(ResourceError, match=rf"spec\.{field}"):
        read(made)


def test_a_certificate_names_something() -> None:
    with pytest.raises(ResourceError, match="commonName or at least one of dnsNames"):
        read(resource(commonName="", dnsNames=[], ipAddresses=[], uris=[]))
