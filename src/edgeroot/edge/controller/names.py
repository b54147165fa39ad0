"""What the controller reads and writes in the cluster, by name."""

from __future__ import annotations

from typing import Final

ATTESTED_LABEL: Final = "edgeroot.dev.node-restriction.kubernetes.io/attested"
"""On affirmed nodes only. What lies under this domain no kubelet may set (admission plugin NodeRestriction)."""
ATTESTED: Final = "true"
EDGE_LABEL: Final = "edgeroot.dev/edge"
"""Makes a node ours before somebody has said which device it is."""
EDGE: Final = "true"

UNATTESTED_TAINT: Final = "edgeroot.dev/unattested"
CONTRAINDICATED_TAINT: Final = "edgeroot.dev/contraindicated"
TAINTS: Final = frozenset({UNATTESTED_TAINT, CONTRAINDICATED_TAINT})

CONDITION: Final = "Attested"
FIELD_MANAGER: Final = "edgeroot-controller"
NAMESPACE: Final = "edgeroot-system"
