"""What an emulated secure world has in place of hardware. Each module says what it can promise, and what it cannot."""
