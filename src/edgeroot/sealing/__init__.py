"""Wrapping keys for what lies on disk.

A sealed blob can be read by whoever has the wrapping key and names the same context, and cannot be changed unnoticed.
"""
