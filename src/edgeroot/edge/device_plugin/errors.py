"""What keeps the plugin from running."""

from __future__ import annotations


class PluginError(Exception):
    """The message says what to do."""
