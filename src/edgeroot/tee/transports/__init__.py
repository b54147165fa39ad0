"""How messages reach the secure world: the emulated one's channels, and Linux's TSTEE driver."""
