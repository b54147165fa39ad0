"""The secure world's fuzz target over its corpus, which reaches every kind of answer."""

from __future__ import annotations

from edgeroot.abi import crypto, crypto_protobuf, fwu
from edgeroot.abi.rpc_status import RpcStatus
from fuzz.fuzz_secure_world import NAMES, exercise
from fuzz.make_secure_world_corpus import CORPUS, every_request, seeds


def test_the_seeds_are_those_that_the_script_makes() -> None:
    for name, content in seeds().items():
        assert (CORPUS / name).read_bytes() == content, name


def test_the_corpus_replays_and_reaches_every_kind_of_answer() -> None:
    outcomes = {exercise(path.read_bytes()) for path in CORPUS.iterdir()}
    manager = "version channel SUCCESS_32 MEM_RETRIEVE_RESP DENIED NOT_SUPPORTED INVALID_PARAMETERS NO_MEMORY"
    of_rpc = {status.name for status in RpcStatus} - {
        "INVALID_STATE",  # of no answer
        "INVALID_REQUEST_BODY",  # of services, see below
        "INVALID_RESPONSE_BODY",
        "RESOURCE_FAILURE",  # of the caller's own side
    }
    frames = {"version", "end", "64 bits", "DENIED", "NOT_SUPPORTED", "INVALID_PARAMETERS"}
    assert outcomes >= {f"monitor {answer}" for answer in manager.split()}
    assert outcomes >= {f"channels {answer}" for answer in of_rpc | frames}
    assert outcomes >= {f"{name} 0" for name in NAMES}
    assert outcomes >= {
        "crypto INVALID_VALUE",
        "crypto INVALID_REQUEST_BODY",
        "storage -140",
        "crypto -136",
        "crypto -149",
    }
    assert exercise(b"") == "empty"


def test_every_operation_has_a_seed_that_is_understood() -> None:
    requests = every_request()
    assert len(requests) > len(crypto.OPERATIONS) + len(crypto_protobuf.OPERATIONS) + len(fwu.OPERATIONS)
    for name in requests:
        _, outcome = exercise((CORPUS / name).read_bytes()).split(" ")
        assert outcome.lstrip("-").isdecimal(), name  # the service's own status
