"""Coverage-guided fuzzing of the whole pipeline: a client's bytes through framing, authentication, policy, the software
provider and back.

Run ``python fuzz/fuzz_pipeline.py fuzz/corpus/pipeline fuzz/corpus/wire -max_total_time=60`` from the root with ``src``
on the path; it needs atheris. The test suite replays both corpora without it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeroot.keystore.records import KeyIdentity, KeyRecord
    from edgeroot.psa import KeyAttributes
    from edgeroot.service.effects import Effect, EffectOutcome
    from edgeroot.service.jobs import Job, JobOutcome
    from edgeroot.testing.keystore_kit import KeyStoreModel
    from edgeroot.wire.framing import Request, Response
    from edgeroot.wire.operations import Result

BODY_LEN_LIMIT = 4096
UID = 1000
APPLICATION = "app"
PROVIDER = "mbed-crypto-provider"
SECOND_PROVIDER = 16
MAX_REQUESTS = 32


class StoreReader:
    """What the pipeline asks of a reader, answered from a store in memory."""

    def __init__(self) -> None:
        self.model: KeyStoreModel

    def find(self, identity: KeyIdentity) -> KeyRecord | None:
        stored = self.model.keys.get(identity)
        return None if stored is None or stored.holder is not None else stored.record

    def exists_any_state(self, identity: KeyIdentity) -> bool:
        return identity in self.model.keys

    def list_page(
        self, authenticator: int, application: str, provider: str, *, after: str | None, limit: int
    ) -> list[tuple[str, KeyAttributes]]:
        owner = (authenticator, application, provider)
        live = [s.record for s in self.model.live() if s.record.identity[:3] == owner]
        names = sorted((record.identity.key_name, record.attributes) for record in live)
        return [one for one in names if after is None or one[0] > after][: limit if limit >= 0 else None]

    def list_applications(self, authenticator: int | None = None) -> list[str]:
        return sorted({s.record.identity[1] for s in self.model.live() if s.record.identity[0] == authenticator})


class Service:
    """A pipeline with two software providers that store objects; everybody is admin, keys of all kinds are there."""

    def __init__(self, folder: Path) -> None:
        from edgeroot.auth import AUTHENTICATORS, Identity, PeerCredentials
        from edgeroot.keystore.generation import Generations
        from edgeroot.providers.software import SoftwareProvider
        from edgeroot.service.call import Door
        from edgeroot.service.core import CoreProvider
        from edgeroot.service.creation import KeyFactory
        from edgeroot.service.jobs import Executor
        from edgeroot.service.keys import KeyCache
        from edgeroot.service.mounted import MountedProvider
        from edgeroot.service.pipeline import Pipeline, Rules
        from edgeroot.testing.keystore_kit import KeyStoreModel
        from edgeroot.testing.objects_in_memory import ObjectsInMemory

        class StoringProvider(ObjectsInMemory, SoftwareProvider):
            """The software provider, with objects."""

        provider = self.provider = StoringProvider(folder / "key")
        provider.start(None)
        mounted = [
            MountedProvider(index=0, wire_id=1, name=PROVIDER, store=0, provider=provider),
            MountedProvider(index=1, wire_id=SECOND_PROVIDER, name="second", store=0, provider=provider),
        ]
        authenticators = [AUTHENTICATORS["UnixPeerCredentials"](), AUTHENTICATORS["Direct"]()]
        self.reader = StoreReader()
        self.reader.model = KeyStoreModel()
        self.generations = Generations(bytearray(Generations.size_bytes(1)), 1)
        self.executor = Executor({0: provider, 1: provider})
        readers: Any = [self.reader]  # has what the pipeline uses of a reader
        keys = KeyCache(readers, self.generations)
        factory = KeyFactory([""], keys)
        self.door = Door({one.auth_type: one for one in authenticators})
        self.peer = PeerCredentials(1, UID, UID)
        self.pipeline = Pipeline(
            core=CoreProvider(mounted, readers, factory),
            providers=mounted,
            keys=keys,
            factory=factory,
            rules=Rules(
                buffer_size_limit_bytes=BODY_LEN_LIMIT,
                admins=frozenset({Identity(1, APPLICATION), Identity(3, "1000")}),
            ),
            observe=lambda _call, _status, _duration: None,
            clock_ns=lambda: 0,
        )
        self._make_keys(provider)
        self._initial = self.reader.model.copy()

    def _make_keys(self, provider: Any) -> None:  # noqa: ANN401 - imported only inside
        from edgeroot.keystore.records import KeyIdentity, KeyRecord
        from edgeroot.keystore.writes import Insert

        for key_name, attributes in key_kinds().items():
            created = provider.create(None, attributes, None)
            identity = KeyIdentity(1, APPLICATION, PROVIDER, key_name)
            self.reader.model.apply([Insert(KeyRecord(identity, created.reference, created.attributes))])

    def reset(self) -> None:
        """The store as it was at first."""
        self.generations.raise_all()
        self.reader.model = self._initial.copy()
        self.provider.objects.clear()

    def serve(self, request: Request) -> bytes:
        """The whole response."""
        steps = self.pipeline.handle(request, self.peer, self.door)
        outcome: EffectOutcome = None
        while not isinstance(steps, bytes):
            try:
                effect = steps.send(outcome)
            except StopIteration as end:
                response: bytes = end.value
                return response
            outcome = self._outcome(effect)
        return steps

    def _outcome(self, effect: Effect) -> EffectOutcome:
        from edgeroot.keystore.generation import RAISES_OF_A_WRITE
        from edgeroot.keystore.write_codec import decode_write, encode_write
        from edgeroot.service.effects import StoreWrite
        from edgeroot.service.jobs import Job

        if isinstance(effect, StoreWrite):
            for _ in range(RAISES_OF_A_WRITE):
                self.generations.raise_all()
            return self.reader.model.apply([decode_write(encode_write(effect.write))])[0]
        if isinstance(effect, Job):
            return self._execute(Job.decode(effect.encode()))
        return None

    def _execute(self, job: Job) -> JobOutcome:
        from edgeroot.service.jobs import JobOutcome
        from edgeroot.wire.opcodes import Opcode
        from edgeroot.wire.status import ResponseStatus

        if job.opcode == Opcode.PSA_GENERATE_KEY:  # what is slow would be all that the fuzzer does
            return JobOutcome(ResponseStatus.PSA_ERROR_INSUFFICIENT_MEMORY)
        return JobOutcome.decode(self.executor.execute(job).encode())


def key_kinds() -> dict[str, KeyAttributes]:
    """One key of each kind, by its name."""
    from dataclasses import replace

    from edgeroot.client import templates
    from edgeroot.psa import Algorithm, Hash, KeyType, UsageFlags

    everything = UsageFlags(0x7F07)
    kinds = {
        "key": templates.ecdsa_p256(),
        "det": replace(templates.ecdsa_p256(), algorithm=Algorithm.deterministic_ecdsa(Hash.ANY)),
        "rsa-crypt": templates.rsa_pkcs1v15_crypt(1024),
        "rsa-oaep": templates.rsa_oaep(1024),
        "rsa-sign": replace(templates.rsa_signing(1024), algorithm=Algorithm.rsa_pkcs1v15_sign(Hash.ANY)),
        "rsa-pss": templates.rsa_pss(1024),
        "gcm": templates.aes_gcm(),
        "ccm": replace(templates.aes_ccm(), algorithm=Algorithm.CCM.with_tag_length(8)),
        "chacha": templates.chacha20_poly1305(),
        "ctr": templates.aes_cipher(Algorithm.CTR),
        "cbc": templates.aes_cipher(Algorithm.CBC_PKCS7),
        "hmac": templates.hmac(),
        "cmac": templates.aes_cmac(),
        "ecdh": templates.ecdh(),
        "x25519": templates.x25519(),
    }
    kinds = {name: replace(attributes, usage=everything) for name, attributes in kinds.items()}
    kinds["raw"] = replace(kinds["hmac"], key_type=KeyType.RAW_DATA, algorithm=Algorithm.NONE)
    return kinds


_service: list[Service] = []


def service() -> Service:
    """The one service, made at the first call."""
    if not _service:
        with tempfile.TemporaryDirectory() as folder:
            _service.append(Service(Path(folder)))
    return _service[0]


def exercise(data: bytes) -> list[str]:
    """Serve the requests that ``data`` begins with, as on a kept connection; what was said to each, for tests.

    Raises AssertionError, or whatever the code under test lets through, if something is wrong.
    """
    from edgeroot.wire.framing import decode_response, next_request
    from edgeroot.wire.status import WireError

    served: list[str] = []
    pipeline = service()
    try:
        while len(served) < MAX_REQUESTS:
            try:
                request = next_request(data, body_len_limit=BODY_LEN_LIMIT)
            except WireError as error:
                return [*served, error.status.display_name]
            if request is None:
                return served
            data = data[request.size_bytes :]
            response = decode_response(message := pipeline.serve(request))
            assert message[8:10] == b"\0\0", "a response with flags"
            served.append(_check(request, response))
    finally:
        pipeline.reset()
    return served


def _check(request: Request, response: Response) -> str:
    from edgeroot.wire.codec import decode_result
    from edgeroot.wire.header import FLAG_EXTENDED
    from edgeroot.wire.opcodes import SPECS
    from edgeroot.wire.status import ResponseStatus

    assert response.status is not ResponseStatus.PSA_ERROR_GENERIC_ERROR, "a fault in the service itself"
    echo = (request.provider, request.session, request.opcode)
    assert (response.provider, response.session, response.opcode) in (echo, (0, 0, 1))
    if response.status is not ResponseStatus.SUCCESS:
        assert response.body == b""
        return response.status.display_name
    result = decode_result(request.opcode, response.body)
    if not request.flags & FLAG_EXTENDED:
        _check_lists(result)
    return SPECS[request.opcode].operation.__name__


def _check_lists(result: Result) -> None:
    from edgeroot.wire import operations as ops

    highest = int(max(ops.ProviderId))
    match result:
        case ops.ListProvidersResult(providers=providers):
            assert all(one.id <= highest and not one.name and not one.edgeroot_version for one in providers)
        case ops.ListOpcodesResult(opcodes=opcodes):
            assert not {0x16, 0x17} & set(opcodes)
            assert all(opcode <= 0x20 for opcode in opcodes)
        case ops.ListKeysResult(keys=keys):
            assert all(key.provider_id <= highest for key in keys)


def main() -> None:
    atheris = importlib.import_module("atheris")  # neither typed nor needed by whoever only replays the corpus
    import logging

    logging.disable(logging.WARNING)
    with atheris.instrument_imports(include=["edgeroot"]):
        service()

    def target(data: bytes) -> None:
        exercise(data)

    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
