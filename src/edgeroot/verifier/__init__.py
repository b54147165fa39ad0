"""The relying party: judges evidence by what is known of devices and their firmware."""
