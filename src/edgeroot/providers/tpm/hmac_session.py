"""HMAC sessions by hand: commands and responses as bytes (TPM 2.0 Library, Part 1, clause 19).

The TSS's own sessions set a library of cryptography up anew for each digest, which takes six times as long as a TPM in
software takes to sign. This does the same for the commands that are used most. All primitives are the system's.

What an authorisation is worth on the bus is the session's key, which comes from a salt that is encrypted to the storage
key: who listens cannot compute an HMAC, and who changes a command or a response is noticed.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.evidence.tpm_structures import (
    Alg,
    Curve,
    EccPublic,
    MalformedError,
    Public,
    Reader,
    RsaPublic,
    Symmetric,
    sized,
)

_HEADER: Final = Struct(">HII")  # tag, size, command or response code
_U32: Final = Struct(">I")
_U16_BYTES: Final = 2
_SESSIONS: Final = 0x8002
_NO_SESSIONS: Final = 0x8001
_START_AUTH_SESSION: Final = 0x00000176
_FLUSH_CONTEXT: Final = 0x00000165
_NULL_HANDLE: Final = 0x40000007
_HMAC_SESSION: Final = 0
_CIPHER: Final = bytes(Symmetric(128, Alg.CFB))
_KEY_BYTES: Final = 16
_CONTINUE: Final = 0x01  # TPMA_SESSION
_DECRYPT: Final = 0x20
_ENCRYPT: Final = 0x40
_NONCE_BYTES: Final = 16
_DIGEST_BITS: Final = 256
_USUAL_EXPONENT: Final = 65537
_SECRET: Final = b"SECRET\0"
_COORDINATE_BYTES: Final = 32


class ResponseCodeError(Exception):
    """The TPM's response code is not success."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code:#x}")
        self.code = code


class ForgedResponseError(Exception):
    """A response is not the TPM's: somebody on the way has changed it."""


@dataclass(frozen=True, slots=True)
class Entity:
    """What a command uses: its handle in the TPM, its name, and its authorisation."""

    handle: int
    name: bytes
    auth: bytes


class Beginning:
    """A session that is about to be: :attr:`command` goes to the TPM, its response makes the session."""

    def __init__(self, storage_handle: int, storage_public: bytes) -> None:
        """MalformedError for a storage key that no salt can be encrypted to here."""
        self._nonce = os.urandom(_NONCE_BYTES)
        self._salt, encrypted = _salt(Public.from_bytes(storage_public))
        self.command: Final = _packet(
            _NO_SESSIONS,
            _START_AUTH_SESSION,
            _U32.pack(storage_handle)
            + _U32.pack(_NULL_HANDLE)
            + sized(self._nonce)
            + sized(encrypted)
            + bytes((_HMAC_SESSION,))
            + _CIPHER
            + int(Alg.SHA256).to_bytes(2),
        )

    def begun(self, response: bytes) -> HmacSession:
        """ResponseCodeError."""
        reader = Reader(_body(response))
        handle, nonce = reader.u32(), reader.sized()
        key = _kdfa(self._salt, b"ATH\0", nonce, self._nonce)
        return HmacSession(handle, key, nonce)


class HmacSession:
    """A session. One command at a time: each response brings the nonce for the next."""

    def __init__(self, handle: int, key: bytes, nonce: bytes) -> None:
        self.handle: Final = handle
        self._key = key
        self._theirs = nonce
        self._ours = b""

    def command(
        self, code: int, entity: Entity | None, parameters: bytes, *, veiled: bool = False, hidden: bool = False
    ) -> bytes:
        """A command whose first and only handle is the entity, which it authorises; or one without a handle.

        With ``veiled`` its first parameter, a TPM2B, is encrypted; with ``hidden`` the TPM does so in the response.
        """
        self._ours = os.urandom(_NONCE_BYTES)
        attributes = bytes((_CONTINUE | (_DECRYPT if veiled else 0) | (_ENCRYPT if hidden else 0),))
        if veiled:
            cipher = self._cipher(entity, self._ours, self._theirs).encryptor()
            parameters = _first_through(cipher, parameters)
        name, handle = (b"", b"") if entity is None else (entity.name, _U32.pack(entity.handle))
        digest = sha256(_U32.pack(code) + name + parameters).digest()
        mac = hmac.digest(self._value(entity), digest + self._ours + self._theirs + attributes, sha256)
        area = _U32.pack(self.handle) + sized(self._ours) + attributes + sized(mac)
        return _packet(_SESSIONS, code, handle + _U32.pack(len(area)) + area + parameters)

    def response(self, code: int, entity: Entity | None, packet: bytes, *, hidden: bool = False) -> bytes:
        """The parameters of the response to that command. ResponseCodeError, ForgedResponseError."""
        body = _body(packet)
        try:
            size_bytes = Reader(body).u32()
            parameters = body[_U32.size : _U32.size + size_bytes]
            reader = Reader(body[_U32.size + size_bytes :])
            theirs, attributes, mac = reader.sized(), reader.u8(), reader.sized()
            reader.end()
        except MalformedError as error:
            raise ForgedResponseError("a response without an authorisation") from error
        digest = sha256(_U32.pack(0) + _U32.pack(code) + parameters).digest()
        told = digest + theirs + self._ours + bytes((attributes,))
        if not hmac.compare_digest(mac, hmac.digest(self._value(entity), told, sha256)):
            raise ForgedResponseError("a response with a wrong authorisation")
        self._theirs = theirs
        if not hidden:
            return parameters
        return _first_through(self._cipher(entity, theirs, self._ours).decryptor(), parameters)

    def _cipher(self, entity: Entity | None, newer: bytes, older: bytes) -> Cipher[CFB]:
        """For the first parameter (Part 1, clause 21.3)."""
        key = _kdfa(self._value(entity), b"CFB\0", newer, older)
        return Cipher(AES(key[:_KEY_BYTES]), CFB(key[_KEY_BYTES:]))

    def flush(self) -> bytes:
        """The command that ends the session."""
        return _packet(_NO_SESSIONS, _FLUSH_CONTEXT, _U32.pack(self.handle))

    def _value(self, entity: Entity | None) -> bytes:
        # A TPM takes the zeros at the end of an authorisation for nothing (Part 1, clause 19.6.4.3).
        return self._key + (b"" if entity is None else entity.auth.rstrip(b"\0"))


def _first_through(cipher: CipherContext, parameters: bytes) -> bytes:
    """The parameters with what the cipher makes of the first one's content; its size stays in the clear."""
    start = _U16_BYTES
    end = start + Reader(parameters).u16()
    return parameters[:start] + cipher.update(parameters[start:end]) + cipher.finalize() + parameters[end:]


def _packet(tag: int, code: int, body: bytes) -> bytes:
    return _HEADER.pack(tag, _HEADER.size + len(body), code) + body


def _body(packet: bytes) -> bytes:
    if len(packet) < _HEADER.size:
        raise ForgedResponseError("a response without a header")
    _, _, code = _HEADER.unpack_from(packet)
    if code:
        raise ResponseCodeError(code)
    return packet[_HEADER.size :]


def _salt(public: Public) -> tuple[bytes, bytes]:
    """A salt, and the same encrypted to the key (Part 1, annexes B.10.2 and C.6.3)."""
    detail = public.detail
    if public.name_algorithm == Alg.SHA256:
        if isinstance(detail, RsaPublic):
            salt = os.urandom(_DIGEST_BITS // 8)
            numbers = rsa.RSAPublicNumbers(detail.exponent or _USUAL_EXPONENT, int.from_bytes(detail.modulus))
            oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), _SECRET)
            return salt, numbers.public_key().encrypt(salt, oaep)
        if isinstance(detail, EccPublic) and detail.curve == Curve.NIST_P256:
            x, y = (number.rjust(_COORDINATE_BYTES, b"\0") for number in (detail.x, detail.y))
            theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
            ours = ec.generate_private_key(ec.SECP256R1())
            point = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
            own_x, own_y = point[:_COORDINATE_BYTES], point[_COORDINATE_BYTES:]
            return _kdfe(ours.exchange(ec.ECDH(), theirs), _SECRET, own_x, x), sized(own_x) + sized(own_y)
    raise MalformedError("no salt can be encrypted to this storage key here")


def _kdfa(key: bytes, label: bytes, first: bytes, second: bytes) -> bytes:
    """KDFa for one digest (Part 1, clause 11.4.10.2)."""
    return hmac.digest(key, _U32.pack(1) + label + first + second + _U32.pack(_DIGEST_BITS), sha256)


def _kdfe(shared: bytes, label: bytes, *parties: bytes) -> bytes:
    """KDFe for one digest (Part 1, clause 11.4.10.3)."""
    return sha256(_U32.pack(1) + shared + label + b"".join(parties)).digest()
