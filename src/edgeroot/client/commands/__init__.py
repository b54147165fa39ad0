"""The commands that use keys through the client. Each imports what is heavy only when it runs."""
