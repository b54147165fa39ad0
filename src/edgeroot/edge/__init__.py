"""Kubernetes: the service's slots as devices of a node, the node's agent, and what decides about nodes in a cluster."""
