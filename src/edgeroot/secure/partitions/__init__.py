"""The partitions: each folder is one, put together by its ``partition.create``."""
