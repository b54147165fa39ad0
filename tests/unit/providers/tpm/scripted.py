"""A TPM made of lists: it keeps what is loaded, has as many slots as it is told, and fails when it is told to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from edgeroot.evidence.tpm_attest import Attest, Certified, Clock, PcrSelection, Quoted, pcr_digest
from edgeroot.evidence.tpm_structures import Alg, Curve
from edgeroot.providers.tpm.connection import Connection, Hierarchy, Primary
from edgeroot.providers.tpm.errors import MAKING_PRIMARY, OBJECT_MEMORY, tpm_error
from edgeroot.providers.tpm.templates import ATTESTATION_ECC
from edgeroot.psa import PsaError, PsaStatus, Secret

SLOTS = 3
_TRANSIENT = 0x80000000
_PROPERTIES = {0x10D: 1024, 0x10E: SLOTS, 0x120: 64}


class ScriptedTpm:
    """What outlives connections. ``fails`` maps a command to the codes with which its next calls end."""

    def __init__(self) -> None:
        self.seed = b"a seed"
        self.loaded: dict[int, bytes] = {}
        self.persistent_public: bytes | None = None
        self.fails: dict[str, list[int]] = {}
        self.calls: list[str] = []
        self.signature = b""  # of every key; where it is empty, a key signs with its private part
        self.random = b"\x05" * 5
        self.absent = False
        self.connections = 0
        self.commands: set[int] = set()
        self.pcrs: dict[int, bytes] = {0: bytes(32), 7: bytes(32)}
        self.extends_at_quote = 0  # how many quotes find another value than the one that was read before
        self.malformed_quote = False
        self.certificate = b""
        self.algorithms: set[int] = {Alg.RSA, Alg.ECC, Alg.ECDH, Alg.ECDSA, Alg.SHA256}

    def connect(self) -> Connection:
        if self.absent:
            raise tpm_error("connecting", 0xA000A)
        self.connections += 1
        return ScriptedConnection(self)

    def called(self, command: str) -> None:
        self.calls.append(command)
        if self.fails.get(command):
            name = MAKING_PRIMARY if command == "create_primary" else command
            raise tpm_error(name, self.fails[command].pop(0))

    def count(self, command: str) -> int:
        return self.calls.count(command)

    def load(self, what: bytes) -> int:
        if len(self.loaded) >= SLOTS:
            raise tpm_error("TPM2_Load", OBJECT_MEMORY)
        handle = next(one for one in range(_TRANSIENT, _TRANSIENT + SLOTS) if one not in self.loaded)
        self.loaded[handle] = what
        return handle

    def name_of(self, public: bytes) -> bytes:
        return hashlib.sha256(self.seed + public).digest()


class ScriptedConnection(Connection):
    def __init__(self, tpm: ScriptedTpm) -> None:
        self.tpm = tpm
        self.closed = False

    def _used(self, command: str) -> None:
        assert not self.closed
        self.tpm.called(command)

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def startup(self) -> None:
        self._used("startup")

    def algorithms(self) -> frozenset[int]:
        return frozenset(self.tpm.algorithms)

    def curves(self) -> frozenset[int]:
        return frozenset((Curve.NIST_P256,))

    def commands(self) -> frozenset[int]:
        return frozenset(self.tpm.commands)

    def property(self, number: int) -> int:
        return _PROPERTIES[number]

    def handles(self, first: int) -> tuple[int, ...]:
        return tuple(self.tpm.loaded) if first == _TRANSIENT else ()

    def has_rsa(self, key_bits: int) -> bool:
        return key_bits == 2048

    def has_aes(self, key_bits: int) -> bool:
        return False

    def persistent(self, handle: int) -> Primary | None:
        public = self.tpm.persistent_public
        return None if public is None else Primary(handle, public, self.tpm.name_of(public), persistent=True)

    def create_primary(self, hierarchy: Hierarchy, auth: bytes, template: bytes) -> Primary:
        self._used("create_primary")
        return Primary(self.tpm.load(template), template, self.tpm.name_of(template), persistent=False)

    def start_session(self, primary: Primary) -> None:
        self._used("start_session")

    def end_session(self) -> None:
        self._used("end_session")

    def create(self, primary: int, template: bytes, auth: bytes, secret: Secret) -> tuple[bytes, bytes]:
        self._used("create")
        return b"private", template

    def import_pair(self, primary: Primary, public: bytes, auth: bytes, secret: Secret) -> bytes:
        self._used("import_pair")
        return b"private"

    def load(self, primary: int, private: bytes, public: bytes, auth: bytes) -> int:
        self._used("load")
        assert primary in self.tpm.loaded or self.tpm.persistent_public
        return self.tpm.load(private)

    def flush(self, handle: int) -> None:
        self._used("flush")
        del self.tpm.loaded[handle]

    def flush_stale(self, handle: int) -> None:
        self._used("flush_stale")
        del self.tpm.loaded[handle]

    def sign(self, handle: int, digest: bytes, scheme: bytes) -> bytes:
        self._used("sign")
        assert handle in self.tpm.loaded
        return self.tpm.signature or self.tpm.loaded[handle]

    def rsa_decrypt(self, handle: int, ciphertext: bytes, scheme: bytes, label: bytes) -> Secret:
        self._used("rsa_decrypt")
        return Secret(b"plaintext")

    def agree(self, handle: int, x: bytes, y: bytes) -> Secret:
        self._used("agree")
        return Secret(b"\x01")

    def hmac(self, handle: int, data: bytes, hash_algorithm: int) -> bytes:
        self._used("hmac")
        return b""

    def hmac_start(self, handle: int, hash_algorithm: int) -> int:
        self._used("hmac_start")
        return self.tpm.load(b"sequence")

    def sequence_update(self, sequence: int, data: bytes) -> None:
        self._used("sequence_update")

    def sequence_complete(self, sequence: int, data: bytes) -> bytes:
        self._used("sequence_complete")
        del self.tpm.loaded[sequence]
        return b"mac"

    def crypt(self, handle: int, data: bytes, *, decrypt: bool, mode: int, iv: bytes) -> tuple[Secret, bytes]:
        self._used("crypt")
        return Secret(data), iv

    def random(self, size_bytes: int) -> Secret:
        self._used("random")
        return Secret(self.tpm.random[:size_bytes])

    def pcr_banks(self) -> Mapping[int, bytes]:
        return {Alg.SHA256: PcrSelection.of(Alg.SHA256, self.tpm.pcrs).mask} if self.tpm.pcrs else {}

    def pcr_values(self, bank: int, indices: Sequence[int]) -> tuple[bytes, ...]:
        self._used("pcr_values")
        return tuple(self.tpm.pcrs[index] for index in indices)

    def quote(self, key: int, selection: bytes, qualifying_data: bytes) -> tuple[bytes, bytes]:
        self._used("quote")
        if self.tpm.extends_at_quote:
            self.tpm.extends_at_quote -= 1
            self.tpm.pcrs[7] = hashlib.sha256(self.tpm.pcrs[7]).digest()
        digest = pcr_digest(list(self.tpm.pcrs.values()), Alg.SHA256)
        attested = Quoted(PcrSelection(Alg.SHA256, selection[3:]), digest)
        statement = self._attest(attested, key, qualifying_data)
        return statement[: -1 if self.tpm.malformed_quote else None], b"signature"

    def certify(self, certified: int, key: int, qualifying_data: bytes) -> tuple[bytes, bytes]:
        self._used("certify")
        assert certified in self.tpm.loaded
        return self._attest(Certified(b"name", b"qualified"), key, qualifying_data), b"signature"

    def _attest(self, attested: Quoted | Certified, key: int, qualifying_data: bytes) -> bytes:
        assert self.tpm.loaded[key] == bytes(ATTESTATION_ECC)
        clock = Clock(clock_ms=1, reset_count=2, restart_count=3, safe=True)
        return bytes(Attest(signer=b"", extra_data=qualifying_data, clock=clock, firmware_version=4, attested=attested))

    def nv_content(self, index: int) -> bytes:
        self._used("nv_content")
        return self.tpm.certificate

    def activate(
        self, primary: int, key: int, endorsement: int, *, auth: bytes, credential_blob: bytes, secret: bytes
    ) -> Secret:
        self._used("activate")
        assert {primary, key, endorsement} <= set(self.tpm.loaded)
        return Secret(b"credential")


class ScriptedLock:
    """Another process may have it."""

    def __init__(self) -> None:
        self.held = False
        self.is_anothers = False

    def acquire(self, wait_s: float) -> None:
        if self.is_anothers:
            raise PsaError(PsaStatus.CONNECTION_BUSY, f"not within {wait_s} s")
        self.held = True

    def release(self) -> None:
        self.held = False
