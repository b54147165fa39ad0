"""A public kit for tests of providers, stores and clients."""
