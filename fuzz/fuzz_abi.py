"""Coverage-guided fuzzing of everything in the messages of the secure world that is decoded from a stranger's bytes.

The first byte chooses what the others are taken for. Run ``python fuzz/fuzz_abi.py fuzz/corpus/abi -max_total_time=60``
from the root with ``src`` on the path; it needs atheris. The test suite replays the corpus without it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

Target = tuple[str, Callable[[bytes], Any], Callable[[Any], bytes]]
_targets: list[Target] = []


def targets() -> list[Target]:
    """What there is to decode: a name, the decoder, and the encoder of what it gives. Made at the first call."""
    if not _targets:
        from edgeroot.abi import attestation, crypto, crypto_protobuf, fwu, storage
        from edgeroot.abi.ffa import VERSION_1_0, PartitionInfo
        from edgeroot.abi.fwu_objects import FwuMetadata, ImageDirectory
        from edgeroot.abi.memory import MemoryRelinquish, RetrieveRequest, Transaction

        layouts = {
            layout: f"{service.__name__.rpartition('.')[2]} {layout.value_type.__name__}"
            for service in (crypto, crypto_protobuf, storage, attestation, fwu)
            for row in service.OPERATIONS.values()
            for layout in (row.request, row.response)
        }
        _targets.extend((name, layout.decode, layout.encode) for layout, name in layouts.items())
        _targets.extend(
            [
                ("transaction", Transaction.decode, Transaction.encode),
                ("transaction 1.0", lambda data: Transaction.decode(data, VERSION_1_0), Transaction.encode),
                ("retrieval", RetrieveRequest.decode, RetrieveRequest.encode),
                ("relinquishment", MemoryRelinquish.decode, MemoryRelinquish.encode),
                ("partitions", PartitionInfo.decode_all, lambda infos: b"".join(info.encode() for info in infos)),
                ("directory", ImageDirectory.decode, ImageDirectory.encode),
                ("metadata", FwuMetadata.decode, FwuMetadata.encode),
            ]
        )
    return _targets


def exercise(data: bytes) -> str:
    """Decode ``data``, and if it can be decoded, encode it and decode that; what came of it, for people and for tests.

    Raises AssertionError, or whatever the code under test lets through, if something is wrong.
    """
    from edgeroot.abi.fwu_objects import FwuObjectError
    from edgeroot.abi.memory import DescriptorError, Transaction
    from edgeroot.abi.rpc_status import RpcError

    if not data:
        return "empty"
    name, decode, encode = targets()[data[0] % len(targets())]
    try:
        value = decode(data[1:])
    except (RpcError, DescriptorError, FwuObjectError):
        return f"{name} refused"
    except ValueError:
        assert name == "partitions"
        return f"{name} refused"
    again = Transaction.decode(encode(value)) if isinstance(value, Transaction) else decode(encode(value))
    assert again == value
    return name


def main() -> None:
    atheris = importlib.import_module("atheris")  # neither typed nor needed by whoever only replays the corpus

    with atheris.instrument_imports(include=["edgeroot.abi", "edgeroot.psa"]):
        targets()

    def target(data: bytes) -> None:
        exercise(data)

    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
