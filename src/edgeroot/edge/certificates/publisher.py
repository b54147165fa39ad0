"""Where workloads find their certificates: what a HardwareCertificate says goes into a ConfigMap. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

API_VERSION: Final = "edgeroot.dev/v1alpha1"
KIND: Final = "HardwareCertificate"


def config_map_for(resource: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ConfigMap with the chain (``tls.crt``, PEM) and the key's URI (``key.uri``, RFC 7512); None if there is none.

    It belongs to the HardwareCertificate, and goes with it.
    """
    metadata, spec, status = resource["metadata"], resource["spec"], resource.get("status") or {}
    if not status.get("certificate") or not status.get("keyURI"):
        return None
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": spec.get("configMapName") or metadata["name"],
            "namespace": metadata["namespace"],
            "ownerReferences": [owner],
        },
        "data": {"tls.crt": status["certificate"], "key.uri": status["keyURI"]},
    }
