"""What both worlds share, sans-IO: FF-A messages and memory descriptors, TS RPC, and each service's messages."""
