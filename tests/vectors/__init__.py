"""Known answers from independent sources; PROVENANCE.md says which."""
