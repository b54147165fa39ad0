"""The kubelet's contracts: the ``.proto`` files here, the modules made of them in ``generated``."""
