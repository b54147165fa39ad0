"""The crypto service's protobuf interface: the ``.proto`` file here, the module made of it in ``generated``."""
