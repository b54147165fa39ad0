"""A HardwareCertificate (edgeroot.dev/v1alpha1): the wish for a certificate whose key stays in one node's hardware."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from edgeroot.client import templates
from edgeroot.psa import KeyAttributes

KEY_ALGORITHMS: Final[Mapping[str, KeyAttributes]] = {
    "ECDSA-P256": templates.ecdsa_p256(),
    "ECDSA-P384": templates.ecdsa_p384(),
    "RSA-2048": templates.rsa_pss(2048),
    "RSA-3072": templates.rsa_pss(3072),
}
"""``spec.keyAlgorithm`` and what is created for it: what TLS 1.3 signs with. None may be exported."""
USAGES: Final = frozenset({"digital signature", "key agreement", "client auth", "server auth", "code signing"})
"""``spec.usages``: those of certificates.k8s.io/v1 that a certificate of a workload may have."""
DEFAULT_USAGES: Final = ("digital signature", "client auth", "server auth")
DEFAULT_DURATION: Final = timedelta(days=90)
# The least that CertificateSigningRequests take (expirationSeconds).
_MIN_DURATION: Final = timedelta(minutes=10)
_MAX_DURATION: Final = timedelta(days=3650)
_DURATION: Final = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")


class ResourceError(ValueError):
    """The resource cannot be carried out as it is; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareCertificate:
    """The parts of a HardwareCertificate that a certificate is made of. The names are those of its ``spec``."""

    namespace: str
    name: str
    uid: str
    generation: int
    node_name: str
    service_account_name: str
    signer_name: str
    key_name: str
    key_algorithm: str
    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    uris: tuple[str, ...]
    usages: tuple[str, ...]
    duration: timedelta
    config_map_name: str

    @property
    def attributes(self) -> KeyAttributes:
        return KEY_ALGORITHMS[self.key_algorithm]


def read(resource: Mapping[str, Any]) -> HardwareCertificate:
    """The resource as the API server gives it. ResourceError says what it must have instead.

    The resource's schema has caught most of it; it is not relied on, for the schema may be of another release.
    """
    metadata, spec = resource["metadata"], resource.get("spec") or {}
    name = metadata["name"]
    certificate = HardwareCertificate(
        namespace=metadata["namespace"],
        name=name,
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        node_name=_required(spec, "nodeName"),
        service_account_name=_required(spec, "serviceAccountName"),
        signer_name=_required(spec, "signerName"),
        key_name=spec.get("keyName") or name,
        key_algorithm=spec.get("keyAlgorithm") or "ECDSA-P256",
        common_name=spec.get("commonName") or "",
        organizations=tuple(spec.get("organizations") or ()),
        dns_names=tuple(spec.get("dnsNames") or ()),
        ip_addresses=tuple(_address(text) for text in spec.get("ipAddresses") or ()),
        uris=tuple(spec.get("uris") or ()),
        usages=tuple(spec.get("usages") or DEFAULT_USAGES),
        duration=_duration(spec.get("duration")),
        config_map_name=spec.get("configMapName") or name,
    )
    _check(certificate)
    return certificate


def _required(spec: Mapping[str, Any], field: str) -> str:
    value = spec.get(field)
    if not isinstance(value, str) or not value:
        raise ResourceError(f"spec.{field} is required")
    return value


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ResourceError(f"spec.ipAddresses: {text!r} is no IP address") from error


def _duration(text: str | None) -> timedelta:
    """A duration as Kubernetes writes it (``2160h``, ``1h30m``)."""
    if text is None:
        return DEFAULT_DURATION
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ResourceError(f"spec.duration: {text!r} is no duration such as 2160h or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not _MIN_DURATION <= duration <= _MAX_DURATION:
        raise ResourceError("spec.duration: must be from 10m to 87600h")
    return duration


def _check(certificate: HardwareCertificate) -> None:
    if certificate.key_algorithm not in KEY_ALGORITHMS:
        raise ResourceError(f"spec.keyAlgorithm: must be one of {', '.join(KEY_ALGORITHMS)}")
    unknown = sorted(set(certificate.usages) - USAGES)
    if unknown:
        raise ResourceError(f"spec.usages: {unknown[0]!r} is none of {', '.join(sorted(USAGES))}")
    names: Sequence[str] = (*certificate.dns_names, *certificate.ip_addresses, *certificate.uris)
    if not certificate.common_name and not names:
        raise ResourceError("spec: a commonName or at least one of dnsNames, ipAddresses and uris is required")
    # Certificates in which these are right are credentials for the cluster itself.
    if certificate.common_name.startswith("system:"):
        raise ResourceError("spec.commonName: names from system: on are the cluster's own")
    for organization in certificate.organizations:
        if organization.startswith("system:"):
            raise ResourceError("spec.organizations: names from system: on are the cluster's own")
