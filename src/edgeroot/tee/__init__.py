"""Sessions with a secure world: two transports behind one door, and the PSA functional API over them."""
