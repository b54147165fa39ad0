"""The service's slots as devices of a Kubernetes node, and who holds them."""
