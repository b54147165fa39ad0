"""The partition manager: which partitions there are, who may talk to whom, and how each is shut in."""
