"""Back ends of keys, all behind the contract of :mod:`edgeroot.providers.api`."""
