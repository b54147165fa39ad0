"""Ways to reach a service."""
