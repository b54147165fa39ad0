"""The firmware update partition: the agent of DEN0118 over two banks of flash."""
