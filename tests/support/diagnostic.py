"""CBOR's diagnostic notation (RFC 8949, clause 8), as published claim sets are written in it."""

from __future__ import annotations

import ast
import re
from typing import Final

_PART: Final = re.compile(
    r"""h'(?P<hex>[^']*)' | '(?P<octets>[^']*)' | (?P<text>"[^"]*") | /[^/]*/ | (?P<rest>[^/"'h]+)""", re.VERBOSE
)


def parse(text: str) -> object:
    """Maps, arrays, integers, text, and byte strings in hexadecimal or as text; comments are passed over."""
    python, at = "", 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            raise ValueError(f"not understood: {text[at : at + 20]!r}")
        at = found.end()
        if found["hex"] is not None:
            python += repr(bytes.fromhex("".join(found["hex"].split())))
        elif found["octets"] is not None:
            python += repr(found["octets"].encode())
        else:
            python += found["text"] or found["rest"] or ""
    value: object = ast.literal_eval(python.strip())
    return value
