from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.engine import EngineKey, generate, import_material, load
from edgeroot.evidence import (
    EvidenceError,
    Profile,
    StatedKey,
    read_token,
    verify_key_statement,
    verify_sign1,
    write_measurements,
)
from edgeroot.psa import KeyOrigin, PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.attestation import (
    IAK_ATTRIBUTES,
    Attester,
    LegacyAttestationService,
    PlatformSettings,
    Rfc9783AttestationService,
    attestation_services,
)
from edgeroot.secure.runtime.api import Caller, Reply, Service

GET_TOKEN, GET_TOKEN_SIZE, EXPORT_IAK, IMPORT_IAK, IAK_EXISTS = range(0x101, 0x106)
CAPACITY_BYTES = 8192
LINUX = Caller(0, 0)
BOOT_SEED = bytes(range(32))
# The boot that the linux-pc deployment of Trusted Services pretends.
UPSTREAM_LOG = write_measurements(
    {
        name: sha256(name.encode()).digest()
        for name in "BL_2 BL_31 HW_CONFIG SOC_FW_CONFIG BL_32 BL32_EXTRA1_IMAGE BL_33 NT_FW_CONFIG".split()
    }
)


class MemoryIakKeys:
    """The crypto partition's part, by the same engine."""

    def __init__(self) -> None:
        self.key: EngineKey | None = None
        self.calls: list[str] = []

    def exists(self) -> bool:
        return self.key is not None

    def generate(self) -> None:
        self.calls.append("generate")
        self.key = load(IAK_ATTRIBUTES, generate(IAK_ATTRIBUTES))

    def import_(self, scalar: Secret) -> None:
        _, material = import_material(IAK_ATTRIBUTES, scalar)
        self.key = load(IAK_ATTRIBUTES, material)

    def public_key(self) -> bytes:
        self.calls.append("public_key")
        return self._key().export_public()

    def sign_hash(self, hash_value: bytes) -> bytes:
        return self._key().sign_hash(IAK_ATTRIBUTES.algorithm, hash_value)

    def _key(self) -> EngineKey:
        if self.key is None:
            raise PsaError(PsaStatus.INVALID_HANDLE)
        return self.key


@pytest.fixture
def keys() -> MemoryIakKeys:
    return MemoryIakKeys()


class Keys:
    """The crypto partition's inspection: one key of source 0x1002."""

    key = StatedKey(
        attributes=IAK_ATTRIBUTES, lifetime=1, origin=KeyOrigin.GENERATED, public_key=b"\4" + bytes(range(64))
    )

    def inspect(self, source_id: int, key_id: int) -> StatedKey:
        if (source_id, key_id) != (0x1002, 7):
            raise PsaError(PsaStatus.INVALID_HANDLE)
        return self.key


def make(keys: MemoryIakKeys, settings: PlatformSettings | None = None, *, event_log: bytes) -> Sequence[Service]:
    attester = Attester(keys, inspector=Keys(), boot_seed=BOOT_SEED, settings=settings, event_log=event_log)
    return attestation_services(attester)


@pytest.fixture
def both(keys: MemoryIakKeys) -> Sequence[Service]:
    return make(keys, event_log=UPSTREAM_LOG)


@pytest.fixture(params=[0, 1], ids=["legacy", "rfc9783"])
def service(both: Sequence[Service], request: pytest.FixtureRequest) -> Service:
    return both[int(request.param)]


def call(
    service: Service, opcode: int, request: bytes = b"", *, source_id: int = 0, capacity_bytes: int = CAPACITY_BYTES
) -> Reply:
    """What the caller sees: a PsaError is a status."""
    try:
        reply = service.call(Caller(source_id, 0), opcode, request, capacity_bytes=capacity_bytes)
    except PsaError as error:
        return Reply(int(error.status))
    assert isinstance(reply, Reply)
    return reply


def record(value: bytes) -> bytes:
    return b"\0\1" + len(value).to_bytes(2, "big") + value


def value(reply: Reply) -> bytes:
    assert reply.status == 0
    assert reply.payload[:2] == b"\0\1"
    assert int.from_bytes(reply.payload[2:4], "big") == len(reply.payload) - 4
    return reply.payload[4:]


def token(service: Service, *, source_id: int = 0, challenge: bytes = bytes(32)) -> bytes:
    return value(call(service, GET_TOKEN, record(challenge), source_id=source_id))


def verified_claims(data: bytes, point: bytes) -> dict[int, object]:
    """The claims, by CBOR and ECDSA alone."""
    tagged = cbor2.loads(data)
    protected, unprotected, payload, signature = tagged.value
    assert (tagged.tag, protected, dict(unprotected)) == (18, bytes.fromhex("a10126"), {})
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    structure = cbor2.dumps(["Signature1", protected, b"", payload])
    key.verify(encode_dss_signature(r, s), structure, ec.ECDSA(hashes.SHA256()))
    return dict(cbor2.loads(payload))


def test_two_services_in_this_order(both: Sequence[Service]) -> None:
    assert str(both[0].uuid) == "a1baf155-8876-4695-8f7c-54955e8db974"
    assert both[1].uuid.version == 4
    assert both[0].uuid != both[1].uuid
    assert [type(service) for service in both] == [LegacyAttestationService, Rfc9783AttestationService]


def test_golden_sizes_of_upstream(keys: MemoryIakKeys) -> None:
    settings = PlatformSettings(platform="trustedfirmware.org.ts.standalone")
    legacy, _ = make(keys, settings, event_log=UPSTREAM_LOG)
    size = call(legacy, GET_TOKEN_SIZE, bytes.fromhex("20000000"), source_id=0x1002)
    assert size == Reply(0, bytes.fromhex("75020000"))
    reply = call(legacy, GET_TOKEN, bytes.fromhex("00010020") + bytes(32), source_id=0x1002)
    assert len(reply.payload) == 633


@pytest.mark.parametrize("source_id", [0, 1, 0x7FFF, 0x8000, 0x8003, 0xFFFF])
def test_legacy_token(both: Sequence[Service], source_id: int) -> None:
    point = value(call(both[0], EXPORT_IAK))
    assert verified_claims(token(both[0], source_id=source_id, challenge=b"\x0c" * 48), point) == {
        -75008: b"\x0c" * 48,
        -75001: source_id,
        -75004: BOOT_SEED,
        -75002: 0,
        -75009: b"\1" + sha256(point).digest(),
        -75003: b"edgeroot.emulated-secure-world",
        -75006: [
            {1: name, 2: sha256(name.encode()).digest()}
            for name in "BL_2 BL_31 HW_CONFIG SOC_FW_CONFIG BL_32 BL32_EXTRA1_IMAGE BL_33 NT_FW_CONFIG".split()
        ],
    }


@pytest.mark.parametrize(
    ("source_id", "client_id"), [(0, -1), (1, -2), (0x7FFF, -0x8000), (0x8000, 0x8000), (0xFFFF, 0xFFFF)]
)
def test_rfc9783_token(keys: MemoryIakKeys, source_id: int, client_id: int) -> None:
    settings = PlatformSettings(platform="a board", lifecycle=0x3001, signers={"BL_2": b"\x51" * 32})
    log = write_measurements({"BL_2": b"\x22" * 32})
    service = make(keys, settings, event_log=log)[1]
    point = value(call(service, EXPORT_IAK))
    assert verified_claims(token(service, source_id=source_id, challenge=b"\x0c" * 64), point) == {
        10: b"\x0c" * 64,
        256: b"\1" + sha256(point).digest(),
        265: "tag:psacertified.org,2023:psa#tfm",
        268: BOOT_SEED,
        2394: client_id,
        2395: 0x3001,
        2396: sha256(b"a board").digest(),
        2399: [{1: "BL_2", 2: b"\x22" * 32, 5: b"\x51" * 32, 6: "sha-256"}],
    }


def test_both_services_share_the_key(both: Sequence[Service]) -> None:
    first, second = (read_token(token(service)) for service in both)
    assert (first.profile, second.profile) == (Profile.LEGACY, Profile.RFC9783)
    assert first.claims.instance_id == second.claims.instance_id
    point = value(call(both[1], EXPORT_IAK))
    for read in (first, second):
        verify_sign1(read.message, ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))


@pytest.mark.parametrize("size_bytes", [32, 48, 64])
def test_size_is_that_of_the_token(service: Service, size_bytes: int) -> None:
    size = call(service, GET_TOKEN_SIZE, size_bytes.to_bytes(4, "little"))
    assert size.status == 0
    assert int.from_bytes(size.payload, "little") == len(token(service, challenge=b"\xff" * size_bytes))


@pytest.mark.parametrize("size_bytes", [0, 1, 31, 33, 47, 49, 63])
def test_challenge_of_a_wrong_size(service: Service, keys: MemoryIakKeys, size_bytes: int) -> None:
    assert call(service, GET_TOKEN, record(bytes(size_bytes))) == Reply(-135)
    assert call(service, GET_TOKEN_SIZE, size_bytes.to_bytes(4, "little")) == Reply(-135)
    assert not keys.exists()


def test_challenge_that_is_too_long(service: Service) -> None:
    with pytest.raises(RpcError) as caught:
        call(service, GET_TOKEN, record(bytes(65)))
    assert caught.value.status is RpcStatus.INVALID_REQUEST_BODY
    for size_bytes in (65, 2**32 - 1):
        assert call(service, GET_TOKEN_SIZE, size_bytes.to_bytes(4, "little")) == Reply(-135)


@pytest.mark.parametrize(
    ("opcode", "request_bytes"),
    [
        (GET_TOKEN, b""),
        (GET_TOKEN, b"\0\1\0"),
        (GET_TOKEN, record(bytes(32))[:-1]),
        (GET_TOKEN, b"\0\2\0\0"),
        (GET_TOKEN_SIZE, b"\x20\0\0"),
        (IMPORT_IAK, b""),
        (IMPORT_IAK, b"\0\1\0\x20"),
    ],
)
def test_malformed_request(service: Service, opcode: int, request_bytes: bytes) -> None:
    with pytest.raises(RpcError) as caught:
        call(service, opcode, request_bytes)
    assert caught.value.status is RpcStatus.INVALID_REQUEST_BODY


@pytest.mark.parametrize("opcode", [0, 0x100, 0x106, 0xFFFF])
def test_unknown_opcode(service: Service, opcode: int) -> None:
    with pytest.raises(RpcError) as caught:
        call(service, opcode)
    assert caught.value.status is RpcStatus.INVALID_VALUE


def test_a_buffer_that_is_too_small(service: Service) -> None:
    size_bytes = len(token(service)) + 4
    challenge = record(bytes(32))
    assert call(service, GET_TOKEN, challenge, capacity_bytes=size_bytes).status == 0
    assert call(service, GET_TOKEN, challenge, capacity_bytes=size_bytes - 1) == Reply(-138)
    assert call(service, EXPORT_IAK, capacity_bytes=68) == Reply(-138)


def test_iak_is_made_when_first_wanted(service: Service, keys: MemoryIakKeys) -> None:
    assert call(service, IAK_EXISTS) == Reply(-140)
    point = value(call(service, EXPORT_IAK))
    assert len(point) == 65
    assert point == keys.public_key()
    assert call(service, IAK_EXISTS) == Reply(0)


def test_first_token_makes_the_iak(service: Service, keys: MemoryIakKeys) -> None:
    verified_claims(token(service), keys.public_key())


def test_public_key_is_asked_for_once(both: Sequence[Service], keys: MemoryIakKeys) -> None:
    for service in (*both, *both):
        token(service)
        call(service, EXPORT_IAK)
    assert keys.calls == ["generate", "public_key"]


def test_import(both: Sequence[Service], keys: MemoryIakKeys) -> None:
    private = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
    scalar = (0x1234567890ABCDEF).to_bytes(32, "big")
    assert call(both[0], IMPORT_IAK, record(scalar)) == Reply(0)
    assert call(both[1], IAK_EXISTS) == Reply(0)
    numbers = private.public_key().public_numbers()
    point = b"\4" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    for service in both:
        assert value(call(service, EXPORT_IAK)) == point
        verified_claims(token(service), point)
        assert call(service, IMPORT_IAK, record(scalar)) == Reply(-133)
    assert "generate" not in keys.calls


@pytest.mark.parametrize("garbage", [b"\1", bytes(31), bytes(32), b"\xff" * 32])
def test_import_of_garbage(service: Service, keys: MemoryIakKeys, garbage: bytes) -> None:
    assert call(service, IMPORT_IAK, record(garbage)) == Reply(-135)
    assert not keys.exists()


def test_a_lost_key_is_noticed(service: Service, keys: MemoryIakKeys) -> None:
    before = value(call(service, EXPORT_IAK))
    keys.key = None
    assert call(service, GET_TOKEN, record(bytes(32))) == Reply(-136)
    after = value(call(service, EXPORT_IAK))
    assert after != before
    verified_claims(token(service), after)


def test_what_was_not_measured_says_so(keys: MemoryIakKeys) -> None:
    attester = Attester(keys, inspector=Keys(), boot_seed=BOOT_SEED)
    for service in attestation_services(attester):
        claims = read_token(token(service)).claims
        assert claims.lifecycle == 0
        (component,) = claims.software_components
        assert (component.measurement_type, component.measurement) == ("UNMEASURED", bytes(32))
        assert component.signer_id in (None, bytes(32))


def test_a_log_without_measurements(keys: MemoryIakKeys) -> None:
    legacy, rfc9783 = make(keys, event_log=write_measurements({}))
    claims = verified_claims(token(legacy), value(call(legacy, EXPORT_IAK)))
    assert claims[-75007] == 1
    assert -75006 not in claims
    assert call(rfc9783, GET_TOKEN, record(bytes(32))) == Reply(-134)
    assert call(rfc9783, GET_TOKEN_SIZE, b"\x20\0\0\0") == Reply(-134)


def test_a_malformed_start_is_refused(keys: MemoryIakKeys) -> None:
    with pytest.raises(EvidenceError):
        Attester(keys, inspector=Keys(), boot_seed=BOOT_SEED, event_log=UPSTREAM_LOG[:-1])
    with pytest.raises(ValueError, match="boot seed"):
        Attester(keys, inspector=Keys(), boot_seed=bytes(31))
    for wrong in ({"platform": ""}, {"platform": "é"}, {"lifecycle": 0x7000}, {"signers": {"BL_2": bytes(20)}}):
        with pytest.raises(ValueError, match=r"platform|lifecycle|signer"):
            PlatformSettings(**wrong)


KEY_STATEMENT = 0x1001


def statement_request(key_id: int, challenge: bytes) -> bytes:
    return key_id.to_bytes(4, "little") + record(challenge)


@pytest.mark.parametrize("challenge_bytes", [32, 48, 64])
def test_a_statement_on_a_key(both: Sequence[Service], challenge_bytes: int) -> None:
    challenge = bytes(range(challenge_bytes))
    point = value(call(both[1], EXPORT_IAK))
    statement = value(call(both[1], KEY_STATEMENT, statement_request(7, challenge), source_id=0x1002))
    signer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    read = verify_key_statement(statement, signer, challenge=challenge)
    assert read.key == Keys.key
    assert read.token.claims == read_token(token(both[1], source_id=0x1002, challenge=challenge)).claims
    assert verified_claims(statement, point)[-76000] == {
        1: 0x7112,
        2: 256,
        3: 0x3000,
        4: 0x06000609,
        5: 1,
        6: 1,
        7: Keys.key.public_key,
    }


def test_no_statement_on_what_the_caller_does_not_have(both: Sequence[Service]) -> None:
    request = statement_request(7, bytes(32))
    assert call(both[1], KEY_STATEMENT, request, source_id=0x1003) == Reply(-136)
    assert call(both[1], KEY_STATEMENT, statement_request(8, bytes(32)), source_id=0x1002) == Reply(-136)


@pytest.mark.parametrize("challenge_bytes", [0, 31, 33, 65])
def test_a_statement_needs_a_challenge(both: Sequence[Service], challenge_bytes: int) -> None:
    request = statement_request(7, bytes(challenge_bytes))
    assert call(both[1], KEY_STATEMENT, request, source_id=0x1002) == Reply(-135)


def test_upstreams_service_states_nothing(both: Sequence[Service]) -> None:
    with pytest.raises(RpcError) as caught:
        both[0].call(Caller(0x1002, 0), KEY_STATEMENT, statement_request(7, bytes(32)), capacity_bytes=CAPACITY_BYTES)
    assert caught.value.status is RpcStatus.INVALID_VALUE
