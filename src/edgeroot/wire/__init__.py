"""The Parsec wire protocol 1.0, sans-IO: header, operation table, statuses, typed operations and their conversion."""
