from __future__ import annotations

from edgeroot.wire.opcodes import SPECS
from fuzz.fuzz_wire import exercise
from fuzz.make_corpus import CORPUS, seeds


def test_the_seeds_are_those_that_the_script_makes() -> None:
    for name, content in seeds().items():
        assert (CORPUS / name).read_bytes() == content, name


def test_the_corpus_replays_and_reaches_every_operation_and_refusal() -> None:
    outcomes = {exercise(path.read_bytes()) for path in CORPUS.iterdir()}
    assert outcomes == {spec.operation.__name__ for spec in SPECS.values()} | {
        "incomplete",
        "InvalidHeader",
        "WireProtocolVersionNotSupported",
        "BodySizeExceedsLimit",
        "ContentTypeNotSupported",
        "AcceptTypeNotSupported",
        "AuthenticatorDoesNotExist",
        "OpcodeDoesNotExist",
        "ProviderDoesNotExist",
        "DeserializingBodyFailed",
        "InvalidEncoding",
        "PsaErrorInvalidArgument",
    }
