"""What every partition is made of: the contract of its services, and the process that serves them."""
