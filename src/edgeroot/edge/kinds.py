"""The kinds of objects that edgeroot adds to a cluster, as lightkube knows them: ``KIND.Status`` is the subresource."""

from __future__ import annotations

from typing import Final

from lightkube.generic_resource import create_global_resource, create_namespaced_resource

GROUP: Final = "edgeroot.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
EdgeNode: Final = create_global_resource(GROUP, VERSION, "EdgeNode", "edgenodes")
EdgeFirmware: Final = create_global_resource(GROUP, VERSION, "EdgeFirmware", "edgefirmwares")
HardwareCertificate: Final = create_namespaced_resource(GROUP, VERSION, "HardwareCertificate", "hardwarecertificates")
