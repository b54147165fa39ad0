"""A genuine Kubernetes to test against: the API server, its controllers, etcd, and a node with a kubelet.

``python -m peers.kubernetes`` builds the programs from Go modules (``source/``) and keeps them outside the checkout.
No part of it is in edgeroot's wheel.
"""

from peers.kubernetes.build import Programs as Programs
from peers.kubernetes.cluster import Cluster as Cluster
from peers.kubernetes.cluster import KubectlError as KubectlError
from peers.kubernetes.component import Component as Component
from peers.kubernetes.component import ComponentError as ComponentError
from peers.kubernetes.node import BUSYBOX as BUSYBOX
from peers.kubernetes.node import NODE as NODE
