"""The pipeline's fuzz target over its corpora, and the same with a real store over drawn operations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeroot.client import templates
from edgeroot.keystore.database import create_store
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Outcome, Write
from edgeroot.providers.software import SoftwareProvider
from edgeroot.psa import Algorithm
from edgeroot.service.jobs import JobOutcome
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import SPECS
from edgeroot.wire.status import ResponseStatus as Status
from fuzz import make_corpus, make_pipeline_corpus
from fuzz.fuzz_pipeline import exercise
from tests.unit.service.pipeline_kit import Harness
from tests.unit.wire.values import instances

CORPORA = (make_pipeline_corpus.CORPUS, make_corpus.CORPUS)
NAMES = ("key", "other", "")
BELONGS_TO_THE_TPM = {ops.AttestKey, ops.KeyStatement, ops.PrepareKeyAttestation}


def test_the_seeds_are_those_that_the_script_makes() -> None:
    for name, content in make_pipeline_corpus.seeds().items():
        assert (make_pipeline_corpus.CORPUS / name).read_bytes() == content, name


def test_the_corpora_replay_and_every_operation_succeeds_in_them() -> None:
    said = {word for corpus in CORPORA for path in corpus.iterdir() for word in exercise(path.read_bytes())}
    operations = {spec.operation for spec in SPECS.values()} - BELONGS_TO_THE_TPM - {ops.PsaMacVerify}
    operations -= {ops.PsaVerifyHash, ops.PsaVerifyMessage, ops.PsaHashCompare, ops.PsaAeadDecrypt}
    assert {operation.__name__ for operation in operations} <= said
    assert {"PsaErrorInvalidSignature", "PsaErrorInvalidPadding", "NotAuthenticated", "ResponseTooLarge"} <= said


class StoredHarness(Harness):
    """With the real store in place of the model; slow jobs are refused."""

    def __init__(self, folder: Path) -> None:
        provider = SoftwareProvider(folder / "key")
        provider.start(None)
        path = folder / "store"
        create_store(path)
        self.stored = Reader.open(path)
        super().__init__(provider, reader=self.stored)
        self.writer = Writer.open(path, self.generations)

    def write(self, write: Write) -> Outcome:
        return self.writer.apply([write])[0]

    def close(self) -> None:
        self.stored.close()
        self.writer.close()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[StoredHarness]:
    harness = StoredHarness(tmp_path)
    yield harness
    harness.close()


def _named(operation: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - one of two dozen classes
    """The same with a key name that others have too, so that they meet."""
    if isinstance(operation, ops.PsaRawKeyAgreement):
        return st.sampled_from(NAMES).map(lambda name: operation.__replace__(private_key_name=name))
    if hasattr(operation, "key_name"):
        return st.sampled_from(NAMES).map(lambda name: operation.__replace__(key_name=name))
    return st.just(operation)


_creations: st.SearchStrategy[Any] = st.builds(
    ops.PsaGenerateKey,
    st.sampled_from(NAMES),
    st.sampled_from(
        [
            templates.ecdsa_p256(),
            templates.aes_gcm(exportable=True),
            templates.hmac(),
            templates.x25519(),
            templates.aes_cipher(Algorithm.CTR),
        ]
    ),
)
_operations: st.SearchStrategy[Any] = _creations | st.one_of(
    [instances(spec.operation) for spec in SPECS.values()]
).flatmap(_named)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(_operations, max_size=12))
def test_whatever_is_asked_gets_an_answer_that_the_store_bears_out(
    stored: StoredHarness, asked: list[ops.Operation]
) -> None:
    refused = JobOutcome(Status.PSA_ERROR_INSUFFICIENT_MEMORY)
    held: set[str] = set()
    for operation in asked:
        slow = isinstance(operation, ops.PsaGenerateKey) and (
            operation.attributes.key_type.is_rsa or operation.attributes.key_type.is_dh
        )
        status, result, _ = stored.run(operation, answers=[refused] if slow else ())
        assert status is not Status.PSA_ERROR_GENERIC_ERROR, operation
        assert (result is None) == (status is not Status.SUCCESS)
        if isinstance(operation, ops.PsaGenerateKey | ops.PsaImportKey):
            assert (status is Status.PSA_ERROR_ALREADY_EXISTS) <= (operation.key_name in held)
            assert status is not Status.SUCCESS or operation.key_name not in held
            held |= {operation.key_name} if status is Status.SUCCESS else set()
        if isinstance(operation, ops.PsaDestroyKey):
            assert (status is Status.SUCCESS) == (operation.key_name in held)
            held.discard(operation.key_name)
        assert {name for name, _ in stored.stored.list_page(3, "1000", "fake-provider", after=None, limit=-1)} == held
    for key_name in held:
        assert stored.status(ops.PsaDestroyKey(key_name)) is Status.SUCCESS
