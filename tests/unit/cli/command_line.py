"""The whole command line in this process, over a simulated service."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edgeroot.cli.frame import Root
from edgeroot.client.transports.memory import MemoryTransport
from edgeroot.psa import KeyAttributes
from edgeroot.testing.wire_simulator import WireSimulator, constant
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import Operation
from edgeroot.wire.status import ResponseStatus, WireError
from tests.unit.client.key_service import HASHES, KeyService

_PROJECT = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["project"]
COMMANDS: dict[str, str] = _PROJECT["entry-points"]["edgeroot.commands"]
CHECKS: dict[str, str] = _PROJECT["entry-points"]["edgeroot.checks"]
AEAD_KEY = bytes(range(32))


class CommandLine:
    """Runs ``edgeroot`` with arguments against ``service``."""

    def __init__(self, service: WireSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service
        monkeypatch.setattr(
            "edgeroot.client.blocking.UnixTransport", lambda _path: MemoryTransport(self.service.answer)
        )

    def run(self, *args: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(Root(COMMANDS), list(args), prog_name="edgeroot", input=stdin)

    def out(self, *args: str, stdin: bytes | None = None) -> str:
        """Standard output of a run that succeeds."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *args: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out(*args, "--json"))
        return found

    def error(self, *args: str, code: int = 1, stdin: bytes | None = None) -> str:
        """The one line that a failing run prints."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("edgeroot: ")
        return result.stderr


class FullKeyService(KeyService):
    """Verifies, too, and keeps symmetric keys: AES-GCM and HMAC under one well-known key."""

    def __init__(self) -> None:
        super().__init__()
        self.symmetric: dict[str, KeyAttributes] = {}
        self.answers |= {
            Opcode.PSA_VERIFY_HASH: self._verify_hash,
            Opcode.PSA_AEAD_ENCRYPT: self._aead_encrypt,
            Opcode.PSA_AEAD_DECRYPT: self._aead_decrypt,
            Opcode.PSA_MAC_COMPUTE: self._mac_compute,
            Opcode.PSA_MAC_VERIFY: self._mac_verify,
            Opcode.PSA_DESTROY_KEY: self._destroy,
            Opcode.PSA_IMPORT_KEY: constant(),
        }

    def add_symmetric(self, name: str, attributes: KeyAttributes) -> None:
        self.symmetric[name] = attributes

    def _list_keys(self, operation: Operation) -> ops.Result:
        listed = super()._list_keys(operation)
        assert isinstance(listed, ops.ListKeysResult)
        more = tuple(ops.KeyInfo(1, name, attributes) for name, attributes in self.symmetric.items())
        return ops.ListKeysResult(listed.keys + more)

    def _destroy(self, operation: Operation) -> ops.Result:
        assert isinstance(operation, ops.PsaDestroyKey)
        if self.keys.pop(operation.key_name, None) is None:
            raise WireError(ResponseStatus.PSA_ERROR_DOES_NOT_EXIST)
        return ops.Empty()

    def _verify_hash(self, operation: Operation) -> ops.Result:
        assert isinstance(operation, ops.PsaVerifyHash)
        key = self.keys[operation.key_name][1]
        assert operation.alg.hash is not None
        hashing, signature = Prehashed(HASHES[operation.alg.hash]), operation.signature
        try:
            if isinstance(key, ec.EllipticCurvePrivateKey):
                half = len(signature) // 2
                der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
                key.public_key().verify(der, operation.hash_value, ec.ECDSA(hashing))
            else:
                assert isinstance(key, rsa.RSAPrivateKey)
                key.public_key().verify(signature, operation.hash_value, padding.PKCS1v15(), hashing)
        except InvalidSignature as error:
            raise WireError(ResponseStatus.PSA_ERROR_INVALID_SIGNATURE) from error
        return ops.Empty()

    def _aead_encrypt(self, operation: Operation) -> ops.Result:
        assert isinstance(operation, ops.PsaAeadEncrypt)
        sealed = AESGCM(AEAD_KEY).encrypt(operation.nonce, operation.plaintext, operation.additional_data)
        return ops.PsaAeadEncryptResult(sealed)

    def _aead_decrypt(self, operation: Operation) -> ops.Result:
        assert isinstance(operation, ops.PsaAeadDecrypt)
        try:
            opened = AESGCM(AEAD_KEY).decrypt(operation.nonce, operation.ciphertext, operation.additional_data)
        except InvalidTag as error:
            raise WireError(ResponseStatus.PSA_ERROR_INVALID_SIGNATURE) from error
        return ops.PsaAeadDecryptResult(opened)

    def _mac_compute(self, operation: Operation) -> ops.Result:
        assert isinstance(operation, ops.PsaMacCompute)
        mac = hmac.HMAC(AEAD_KEY, hashes.SHA256())
        mac.update(operation.input)
        return ops.PsaMacComputeResult(mac.finalize())

    def _mac_verify(self, operation: Operation) -> ops.Result:
        assert isinstance(operation, ops.PsaMacVerify)
        mac = hmac.HMAC(AEAD_KEY, hashes.SHA256())
        mac.update(operation.input)
        try:
            mac.verify(operation.mac)
        except InvalidSignature as error:
            raise WireError(ResponseStatus.PSA_ERROR_INVALID_SIGNATURE) from error
        return ops.Empty()
