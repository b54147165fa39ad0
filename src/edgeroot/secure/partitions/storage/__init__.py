"""The storage partition: PSA internal trusted storage and protected storage."""
