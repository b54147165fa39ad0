"""What keeps a key, or a whole store, from being taken over."""


class MigrationError(Exception):
    """The message says what is wrong and, where somebody can do something about it, what; it holds no secret."""
