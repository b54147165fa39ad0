"""The fixed header of the Parsec wire protocol 1.0 (Parsec book, "Wire Protocol").

Requests and responses share one layout: 36 bytes, little-endian, without padding. The body follows, and in requests
the authentication field after it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

MAGIC: Final = 0x5EC0A710
HEADER_STRUCT: Final = Struct("<IHBBHBQBBBIHIHBB")
"""magic, header size, version major and minor, flags, provider, session, content type, accept type, auth type,
body length, auth length, opcode, status, two reserved bytes."""
HEADER_BYTES: Final = HEADER_STRUCT.size
PREFIX_STRUCT: Final = Struct("<IH")
"""Magic and header size, which say how much header there is to read."""
ANNOUNCED_HEADER_BYTES: Final = HEADER_BYTES - PREFIX_STRUCT.size
"""The value of the header size field: it counts the bytes behind itself."""
VERSION: Final = (1, 0)
OPENING: Final = HEADER_STRUCT.pack(MAGIC, ANNOUNCED_HEADER_BYTES, *VERSION, *[0] * 12)[:8]
"""The bytes that every acceptable message begins with: magic, header size, version."""
REQUEST_STRUCT: Final = Struct("<HBQBBBIHI2xH")
"""The header behind :data:`OPENING`, without the status, which requests leave unused; reserved bytes as one number."""
CONTENT_TYPE_PROTOBUF: Final = 0
BODY_BYTES_MAX: Final = 0xFFFFFFFF
AUTH_BYTES_MAX: Final = 0xFFFF

FLAG_KEEP: Final = 1
"""Extension: keep this connection open for further requests."""
FLAG_EXTENDED: Final = 2
"""Extension: the answer may hold numbers that upstream's contract does not have."""
