"""The Parsec contract as protobuf: the ``.proto`` files here, the modules made of them in ``generated``."""
