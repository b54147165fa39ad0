"""A node's agent: answers the verifier's challenges with what the node's secure world signs, again and again."""
