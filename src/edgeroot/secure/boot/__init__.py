"""The boot stage's judgement: which images may run. Bytes in, values out."""
