"""The one place that says which edgeroot this is (hatchling reads it too)."""

__version__ = "0.1.0"
