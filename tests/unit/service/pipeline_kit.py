"""A pipeline without sockets, files and processes: a provider made of a dictionary, a store made of another, and
effects that the test answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, cast

from edgeroot.auth import AUTHENTICATORS, Identity, PeerCredentials
from edgeroot.keystore.generation import RAISES_OF_A_WRITE, Generations
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyIdentity, KeyRecord, KeyState
from edgeroot.keystore.writes import Outcome, Write
from edgeroot.providers.api import (
    Capabilities,
    Capability,
    Created,
    Function,
    LoadedKey,
    Provider,
    ProviderIdentity,
)
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from edgeroot.service.call import Call, Door
from edgeroot.service.core import CoreProvider
from edgeroot.service.creation import KeyFactory
from edgeroot.service.effects import Effect, EffectOutcome, Pause, ResponseSteps, StoreWrite
from edgeroot.service.jobs import Executor, Job
from edgeroot.service.keys import KeyCache
from edgeroot.service.mounted import MountedProvider
from edgeroot.service.pipeline import Pipeline, Rules
from edgeroot.service.quotas import Quotas
from edgeroot.testing.keystore_kit import KeyStoreModel
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_result, encode_operation
from edgeroot.wire.framing import Request, decode_response
from edgeroot.wire.opcodes import BY_OPERATION
from edgeroot.wire.status import ResponseStatus

ES256 = Algorithm.ecdsa(Hash.SHA_256)
PAIR = KeyType.ecc_key_pair(EccFamily.SECP_R1)
P256 = KeyAttributes(PAIR, 256, UsageFlags.SIGN_HASH.with_implied(), ES256)
HOLDER = "this process"
PROVIDER = "fake-provider"
USER = PeerCredentials(pid=1, uid=1000, gid=1000)
SLOTS = 64


class ModelReader:
    """What the pipeline asks of a reader, answered from the model of a store."""

    def __init__(self, model: KeyStoreModel) -> None:
        self._model = model
        self.finds = 0

    def find(self, identity: KeyIdentity) -> KeyRecord | None:
        self.finds += 1
        stored = self._model.keys.get(identity)
        return stored.record if stored is not None and stored.state is KeyState.LIVE else None

    def exists_any_state(self, identity: KeyIdentity) -> bool:
        return identity in self._model.keys

    def list_page(
        self, authenticator: int, application: str, provider: str, *, after: str | None, limit: int
    ) -> list[tuple[str, KeyAttributes]]:
        live = sorted(
            (stored.record.identity.key_name, stored.record.attributes)
            for stored in self._model.live()
            if stored.record.identity[:3] == (authenticator, application, provider)
        )
        rest = [one for one in live if after is None or one[0] > after]
        return rest if limit < 0 else rest[:limit]

    def list_applications(self, authenticator: int | None = None) -> list[str]:
        return sorted(
            {s.record.identity.application for s in self._model.live() if s.record.identity[0] == authenticator}
        )


class BackEnd(Provider):
    """Keeps keys in a dictionary. ``fails`` says with which status a method's next calls end."""

    identity = ProviderIdentity(1, "1c1139dc-ad7c-47dc-ad6b-db6fdb466552", "A back end", "Nobody", (0, 1, 0))
    keeps_keys: ClassVar[bool] = True

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.fails: dict[str, list[PsaStatus]] = {}
        self.calls: list[str] = []
        self._planned = 0

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.fails.get(name):
            raise PsaError(self.fails[name].pop(0))

    def start(self, state: bytes | None) -> bytes | None:
        return None

    def capabilities(self) -> Capabilities:
        manage = Function.GENERATE_KEY | Function.IMPORT_KEY | Function.DESTROY_KEY | Function.EXPORT_KEY
        return Capabilities(
            generation=0,
            rows=(
                Capability(manage, PAIR, (256,)),
                Capability(Function.SIGN_HASH, PAIR, (256,), frozenset((ES256,))),
                Capability(Function.GENERATE_RANDOM),
            ),
        )

    def plan(self, attributes: KeyAttributes) -> bytes | None:
        self._planned += 1
        return b"place %d" % self._planned

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        assert reference is not None
        try:
            self._called("create")
        except PsaError as error:
            if error.status is PsaStatus.COMMUNICATION_FAILURE:
                self.keys.add(reference)  # it was made, but nobody heard of it
            raise
        self.keys.add(reference)
        return Created(reference, replace(attributes, key_bits=256))

    def destroy(self, reference: bytes) -> None:
        self._called("destroy")
        self.keys.discard(reference)

    def exists(self, reference: bytes) -> bool:
        return reference in self.keys

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        self._called("load")
        if reference not in self.keys:
            raise PsaError(PsaStatus.INVALID_HANDLE)
        return LoadedKey(reference, attributes)

    def sign_hash(self, key: LoadedKey, alg: Algorithm, hash_value: bytes) -> bytes:
        self._called("sign_hash")
        return b"signed by " + key.reference

    def generate_random(self, size_bytes: int) -> Secret:
        return Secret(bytes(size_bytes))


class BlobBackEnd(BackEnd):
    """The reference is the key; nothing is kept."""

    keeps_keys: ClassVar[bool] = False

    def plan(self, attributes: KeyAttributes) -> bytes | None:
        return None

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        assert reference is None
        self._called("create")
        self._planned += 1
        blob = b"blob %d" % self._planned
        self.keys.add(blob)
        return Created(blob, attributes)


class Harness:
    """A pipeline with everything around it."""

    def __init__(
        self,
        provider: Provider,
        *,
        remote: bool = False,
        rules: Rules | None = None,
        reader: Reader | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self.model = KeyStoreModel()
        self.reader = ModelReader(self.model)
        self.provider = provider
        self.generations = Generations(bytearray(Generations.size_bytes(SLOTS)), SLOTS)
        self.observed: list[tuple[Call, int]] = []
        mounted = [MountedProvider(index=0, wire_id=1, name=PROVIDER, store=0, provider=provider, remote=remote)]
        authenticators = [AUTHENTICATORS["UnixPeerCredentials"](), AUTHENTICATORS["Direct"]()]
        self.door = Door({one.auth_type: one for one in authenticators})
        readers = [reader or cast(Reader, self.reader)]
        keys = KeyCache(readers, self.generations)
        factory = KeyFactory([HOLDER], keys)
        self.executor = Executor({0: provider})
        self.pipeline = Pipeline(
            core=CoreProvider(mounted, readers, factory),
            providers=mounted,
            keys=keys,
            factory=factory,
            rules=rules or Rules(admins=frozenset({Identity(3, "0")})),
            observe=lambda call, status, _duration: self.observed.append((call, status)),
            clock_ns=lambda: 0,
            quotas=quotas,
        )

    def identity(self, key_name: str) -> KeyIdentity:
        return KeyIdentity(3, str(USER.uid), PROVIDER, key_name)

    def begin(
        self, operation: ops.Operation, *, provider: int = 1, flags: int = 0, peer: PeerCredentials = USER
    ) -> bytes | ResponseSteps:
        """Hand the operation in; a response, or the steps to one."""
        spec = BY_OPERATION[type(operation)]
        body = encode_operation(operation)
        auth = peer.uid.to_bytes(4, "little")
        request = Request(flags, 0 if spec.core else provider, 0, 0, 0, 3, spec.opcode, body, auth, 40 + len(body))
        return self.pipeline.handle(request, peer, self.door)

    def write(self, write: Write) -> Outcome:
        """Carry a write out as the writer does."""
        identity = getattr(write, "identity", None) or getattr(getattr(write, "record", None), "identity", None)
        outcome = self.model.apply([write])[0]
        for _ in range(RAISES_OF_A_WRITE):
            if identity is not None:
                self.generations.raise_(self.generations.slot(identity))
            else:
                self.generations.raise_all()
        return outcome

    def outcome(self, effect: Effect) -> EffectOutcome:
        """What the surroundings answer to an effect."""
        if isinstance(effect, StoreWrite):
            return self.write(effect.write)
        if isinstance(effect, Job):
            return self.executor.execute(Job.decode(effect.encode()))
        return None

    def run(
        self,
        operation: ops.Operation,
        *,
        provider: int = 1,
        flags: int = 0,
        peer: PeerCredentials = USER,
        answers: Sequence[EffectOutcome] = (),
    ) -> tuple[ResponseStatus, ops.Result | None, list[str]]:
        """Status, result and the effects on the way; ``answers`` replace the first outcomes."""
        steps = self.begin(operation, provider=provider, flags=flags, peer=peer)
        effects: list[str] = []
        if not isinstance(steps, bytes):
            remaining = list(answers)
            outcome: EffectOutcome = None
            while True:
                try:
                    effect = steps.send(outcome)
                except StopIteration as end:
                    steps = cast(bytes, end.value)
                    break
                effects.append(_name(effect))
                outcome = remaining.pop(0) if remaining else self.outcome(effect)
        assert isinstance(steps, bytes)
        response = decode_response(steps)
        if response.status is not ResponseStatus.SUCCESS:
            assert response.body == b""
            return response.status, None, effects
        return response.status, decode_result(BY_OPERATION[type(operation)].opcode, response.body), effects

    def status(self, operation: ops.Operation) -> ResponseStatus:
        return self.run(operation)[0]


def _name(effect: Effect) -> str:
    if isinstance(effect, StoreWrite):
        return type(effect.write).__name__
    return "PAUSE" if isinstance(effect, Pause) else "Job"
