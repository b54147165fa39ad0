"""A secure element (ATECC508A or ATECC608): its slots, the keys in them, and Microchip's library.

What stands above it says who may have a key: the provider of the service, or the crypto partition of a secure world.
"""
