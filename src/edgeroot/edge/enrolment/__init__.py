"""Zero-touch join: a device proves what it is to the verifier, and becomes the one node that it may be."""
