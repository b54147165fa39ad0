"""Measurements against upstream's genuine service: ``python -m bench``, or ``make bench``."""
