"""Taking over what upstream Parsec has stored, so that each key goes on working under its name for the same client."""
