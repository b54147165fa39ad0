"""The crypto partition: PSA Crypto for its callers, each with keys of its own."""
