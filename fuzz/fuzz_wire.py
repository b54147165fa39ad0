"""Coverage-guided fuzzing of everything that bytes from a stranger run through before anybody is authenticated.

Run ``python fuzz/fuzz_wire.py fuzz/corpus/wire -max_total_time=60`` from the root with ``src`` on the path; it needs
atheris. The test suite replays the corpus without it.
"""

from __future__ import annotations

import importlib
import sys

BODY_LEN_LIMIT = 4096


def exercise(data: bytes) -> str:
    """Serve ``data`` as far as decoding goes, whole and in pieces; what came of it, for people and for tests.

    Raises AssertionError, or whatever the code under test lets through, if something is wrong.
    """
    from edgeroot.wire.codec import decode_operation, decode_result, encode_operation
    from edgeroot.wire.framing import bytes_needed, check_request, decode_response, next_request
    from edgeroot.wire.status import WireError

    try:
        decode_response(data)
    except WireError:
        pass
    try:
        received = bytearray()
        while (request := next_request(received, body_len_limit=BODY_LEN_LIMIT)) is None:
            needed = bytes_needed(received)
            assert needed > len(received)
            if needed > len(data):
                assert next_request(data, body_len_limit=BODY_LEN_LIMIT) is None
                return "incomplete"
            received[:] = data[:needed]
        assert request == next_request(data, body_len_limit=BODY_LEN_LIMIT)
        check_request(request)
        try:
            decode_result(request.opcode, request.body)
        except WireError:
            pass
        operation = decode_operation(request.opcode, request.body)
    except WireError as error:
        return error.status.display_name
    assert decode_operation(request.opcode, encode_operation(operation)) == operation
    return type(operation).__name__


def main() -> None:
    atheris = importlib.import_module("atheris")  # neither typed nor needed by whoever only replays the corpus

    with atheris.instrument_imports(include=["edgeroot.wire", "edgeroot.psa"]):
        import edgeroot.wire.codec
        import edgeroot.wire.framing  # noqa: F401 - imported here to be instrumented

    def target(data: bytes) -> None:
        exercise(data)

    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
