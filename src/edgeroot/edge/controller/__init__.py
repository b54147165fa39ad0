"""The controller: what the verifier found out about devices becomes labels, taints and status of their nodes."""
