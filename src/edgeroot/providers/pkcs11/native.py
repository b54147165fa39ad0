"""Everything of the provider that touches the machine: the module, processes, the clock and shared memory.

The module is loaded by PyKCS11's low-level interface, which adds nothing to the functions of PKCS#11 but C++ vectors
for byte strings. A process calls a module from one thread at a time.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from struct import Struct
from time import monotonic
from typing import Any, ClassVar, Final, TypeAlias

from edgeroot.confinement.apart import ApartError, run_apart
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import CkrError, UnavailableError
from edgeroot.providers.pkcs11.mechanisms import (
    CtrParameters,
    EcdhParameters,
    GcmParameters,
    Mechanism,
    OaepParameters,
    PssParameters,
)
from edgeroot.providers.pkcs11.profile import MechanismInfo, TokenInfo
from edgeroot.psa import Secret

Value = bool | int | bytes
Template = Mapping[int, Value]
Native: TypeAlias = Any
"""An object of PyKCS11's, which has no types."""
_CHUNK_BYTES: Final = 64 * 1024
_LONGEST_END_BYTES: Final = 64  # a hash, a MAC, a tag, a block
_ADDED_BYTES: Final = 2048  # more than the modulus of any RSA key that a token has
_ISOLATED_S: Final = 60.0  # how long a module may take before the service's start goes on without it
_CKF_SERIAL_SESSION: Final = 0x4
_CKF_RW_SESSION: Final = 0x2
_CKU_USER: Final = 1
_COPY_OBJECT: Final = 22  # its place in CK_FUNCTION_LIST, behind the version (v3.0 §5.1.4)
_CKR_ALREADY_LOGGED_IN: Final = 0x100
_CKR_ALREADY_INITIALIZED: Final = 0x191


class Module:
    """A PKCS#11 module in this process. Every method raises CkrError."""

    def __init__(self, path: Path) -> None:
        """UnavailableError if the module, or what loads it, is not there."""
        try:
            import PyKCS11
        except ImportError as error:
            raise UnavailableError("the package PyKCS11 is missing: install edgeroot[pkcs11]") from error
        self._binding: Final[Native] = PyKCS11
        self._low: Final[Native] = PyKCS11.LowLevel
        self._lib: Final[Native] = self._low.CPKCS11Lib()
        if not path.is_file():
            raise UnavailableError(f"there is no PKCS#11 module {path}: install it, or correct library_path")
        loaded = self._lib.Load(str(path))  # which also initialises it
        if loaded < 0:
            raise UnavailableError(f"{path} cannot be loaded: it is no PKCS#11 module for this machine")
        _check(loaded, "C_Initialize")
        self._copy_object = _copy_object(path)

    def restart(self) -> None:
        """Forget everything, and look for slots and tokens anew: some modules see a token's return only so."""
        self.finalize()
        initialized = self._lib.C_Initialize()
        if initialized != _CKR_ALREADY_INITIALIZED:
            _check(initialized, "C_Initialize")

    def finalize(self) -> None:
        """Every session and log-in of this process ends."""
        self._lib.C_Finalize()

    def slots(self) -> list[int]:
        """The slots with a token in them."""
        found = self._low.ckulonglist()
        _check(self._lib.C_GetSlotList(1, found), "C_GetSlotList")
        return list(found)

    def token_info(self, slot: int) -> TokenInfo:
        info = self._low.CK_TOKEN_INFO()
        _check(self._lib.C_GetTokenInfo(slot, info), "C_GetTokenInfo")
        version = info.firmwareVersion
        return TokenInfo(
            _text(info.GetLabel()),
            _text(info.GetSerialNumber()),
            _text(info.GetManufacturerID()),
            _text(info.GetModel()),
            f"{version.major}.{version.minor}",
            int(info.flags),
        )

    def mechanisms(self, slot: int) -> dict[int, MechanismInfo]:
        """Those that the token describes; SoftHSM lists one or two that it then knows nothing of."""
        listed = self._low.ckulonglist()
        _check(self._lib.C_GetMechanismList(slot, listed), "C_GetMechanismList")
        found = {}
        for number in list(listed):
            info = self._low.CK_MECHANISM_INFO()
            if not self._lib.C_GetMechanismInfo(slot, number, info):
                found[int(number)] = MechanismInfo(int(info.ulMinKeySize), int(info.ulMaxKeySize), int(info.flags))
        return found

    def open_session(self, slot: int) -> Session:
        handle = self._low.CK_SESSION_HANDLE()
        flags = _CKF_SERIAL_SESSION | _CKF_RW_SESSION
        _check(self._lib.C_OpenSession(slot, flags, handle), "C_OpenSession")
        return Session(self._binding, self._lib, handle, self._copy_object)


class Session:
    """A read/write session. Every method raises CkrError; an object is its handle, valid in all sessions."""

    def __init__(self, binding: Native, lib: Native, handle: Native, copy_object: Native) -> None:
        self._binding = binding
        self._low = binding.LowLevel
        self._lib = lib
        self._handle = handle
        self._copy_object = copy_object

    def login(self, pin: Secret) -> None:
        """Log this process in as the token's user; that it already is is no error."""
        answer = self._lib.C_Login(self._handle, _CKU_USER, self._low.ckbytelist(bytes(pin)))
        if answer != _CKR_ALREADY_LOGGED_IN:
            _check(answer, "C_Login")

    def close(self) -> None:
        """Give the session back; an operation that was begun in it ends."""
        self._lib.C_CloseSession(self._handle)

    def find(self, template: Template) -> list[int]:
        _check(self._lib.C_FindObjectsInit(self._handle, self._attributes(template)), "C_FindObjectsInit")
        found: list[int] = []
        try:
            while True:
                some = self._low.ckulonglist(16)
                _check(self._lib.C_FindObjects(self._handle, some), "C_FindObjects")
                if not len(some):
                    return found
                found += [int(handle) for handle in some]
        finally:
            self._lib.C_FindObjectsFinal(self._handle)

    def create(self, template: Template) -> int:
        made = self._low.CK_OBJECT_HANDLE()
        _check(self._lib.C_CreateObject(self._handle, self._attributes(template), made), "C_CreateObject")
        return int(made.value())

    def destroy(self, handle: int) -> None:
        _check(self._lib.C_DestroyObject(self._handle, self._object(handle)), "C_DestroyObject")

    def keep(self, handle: int) -> int:
        """A copy, in the token, of an object that would be gone with the session."""
        yes, made = ctypes.c_ubyte(1), ctypes.c_ulong()
        in_token = _Attribute(ck.CKA_TOKEN, ctypes.addressof(yes), ctypes.sizeof(yes))
        session = int(self._handle.value())
        _check(self._copy_object(session, handle, ctypes.byref(in_token), 1, ctypes.byref(made)), "C_CopyObject")
        return made.value

    def generate_key(self, mechanism: Mechanism, template: Template) -> int:
        made = self._low.CK_OBJECT_HANDLE()
        native = self._mechanism(mechanism)
        answer = self._lib.C_GenerateKey(self._handle, native.to_native(), self._attributes(template), made)
        _check(answer, "C_GenerateKey")
        return int(made.value())

    def generate_key_pair(self, mechanism: Mechanism, public: Template, private: Template) -> tuple[int, int]:
        """The public key's handle and the private key's."""
        handles = self._low.CK_OBJECT_HANDLE(), self._low.CK_OBJECT_HANDLE()
        native = self._mechanism(mechanism)
        templates = self._attributes(public), self._attributes(private)
        answer = self._lib.C_GenerateKeyPair(self._handle, native.to_native(), *templates, *handles)
        _check(answer, "C_GenerateKeyPair")
        return int(handles[0].value()), int(handles[1].value())

    def attributes(self, handle: int, types: Sequence[int]) -> list[Secret]:
        """Their values as bytes; CkrError if one of them is absent or may not be read."""
        values = []
        for one in types:
            asked = self._low.ckattrlist(1)
            asked[0].SetType(one)
            # Once for the length, once for the value.
            for _ in range(2):
                answer = self._lib.C_GetAttributeValue(self._handle, self._object(handle), asked)
                _check(answer, "C_GetAttributeValue")
            values.append(Secret(asked[0].GetBin()))
        return values

    def begin_encryption(self, mechanism: Mechanism, key: int) -> None:
        """C_EncryptInit alone: whether the token takes these parameters. The session is of no other use then."""
        native = self._mechanism(mechanism)
        _check(self._lib.C_EncryptInit(self._handle, native.to_native(), self._object(key)), "C_EncryptInit")

    def begin_verification(self, mechanism: Mechanism, key: int) -> None:
        """C_VerifyInit alone, as :meth:`begin_encryption`."""
        native = self._mechanism(mechanism)
        _check(self._lib.C_VerifyInit(self._handle, native.to_native(), self._object(key)), "C_VerifyInit")

    def encrypt(self, mechanism: Mechanism, key: int, data: bytes) -> bytes:
        return self._transform("C_Encrypt", mechanism, key, data)

    def decrypt(self, mechanism: Mechanism, key: int, data: bytes) -> Secret:
        return Secret(self._transform("C_Decrypt", mechanism, key, data))

    def sign(self, mechanism: Mechanism, key: int, data: bytes) -> bytes:
        """A signature or a MAC."""
        return self._transform("C_Sign", mechanism, key, data)

    def digest(self, mechanism: Mechanism, data: bytes) -> bytes:
        return self._transform("C_Digest", mechanism, None, data)

    def verify(self, mechanism: Mechanism, key: int, data: bytes, signature: bytes) -> None:
        self.begin_verification(mechanism, key)
        given = self._low.ckbytelist(bytes(signature))
        if data:
            _check(self._lib.C_Verify(self._handle, self._low.ckbytelist(bytes(data)), given), "C_Verify")
        else:
            _check(self._lib.C_VerifyFinal(self._handle, given), "C_VerifyFinal")

    def derive(self, mechanism: Mechanism, key: int, template: Template) -> int:
        made = self._low.CK_OBJECT_HANDLE()
        native = self._mechanism(mechanism)
        of = self._object(key)
        answer = self._lib.C_DeriveKey(self._handle, native.to_native(), of, self._attributes(template), made)
        _check(answer, "C_DeriveKey")
        return int(made.value())

    def random(self, size_bytes: int) -> Secret:
        parts = bytearray()
        while len(parts) < size_bytes:
            part = self._low.ckbytelist(min(_CHUNK_BYTES, size_bytes - len(parts)))
            _check(self._lib.C_GenerateRandom(self._handle, part), "C_GenerateRandom")
            parts += self._taken(part)
        return Secret(parts)

    def _transform(self, function: str, mechanism: Mechanism, key: int | None, data: bytes) -> bytes:
        native = self._mechanism(mechanism)
        objects = () if key is None else (self._object(key),)
        begin = getattr(self._lib, f"{function}Init")
        _check(begin(self._handle, native.to_native(), *objects), f"{function}Init")
        if not data:
            # PyKCS11 makes a null pointer of no bytes, which modules refuse: so the end comes after no part at all.
            function, result = f"{function}Final", self._low.ckbytelist(_LONGEST_END_BYTES)
            _check(getattr(self._lib, function)(self._handle, result), function)
            return self._taken(result)
        given, call = self._low.ckbytelist(bytes(data)), getattr(self._lib, function)
        # With room for what any mechanism here adds, the length need not be asked for first (v3.0 §5.2); PyKCS11
        # cuts the vector to what came.
        result = self._low.ckbytelist(len(data) + _ADDED_BYTES)
        _check(call(self._handle, given, result), function)
        return self._taken(result)

    def _taken(self, result: Native) -> bytes:
        """The vector's bytes. An attribute gives all of them at once, fifty times as fast as going through them."""
        carrier = self._low.ckattrlist(1)
        carrier[0].SetBin(ck.CKA_VALUE, result)
        return bytes(carrier[0].GetBin())

    def _object(self, handle: int) -> Native:
        made = self._low.CK_OBJECT_HANDLE()
        made.assign(handle)
        return made

    def _attributes(self, template: Template) -> Native:
        made = self._low.ckattrlist(len(template))
        for index, (attribute, value) in enumerate(template.items()):
            if isinstance(value, bool):
                made[index].SetBool(attribute, value)
            elif isinstance(value, int):
                made[index].SetNum(attribute, value)
            else:
                made[index].SetBin(attribute, self._low.ckbytelist(bytes(value)))
        return made

    def _mechanism(self, mechanism: Mechanism) -> Native:
        """The native form, which has to outlive the call that it is for."""
        binding = self._binding
        number = mechanism.number
        match mechanism.parameters:
            case PssParameters(hash_mechanism=hashed, mask_generation=masked, salt_bytes=salt_bytes):
                return binding.RSA_PSS_Mechanism(number, hashed, masked, salt_bytes)
            case OaepParameters(hash_mechanism=hashed, mask_generation=masked, label=label):
                return binding.RSAOAEPMechanism(hashed, masked, bytes(label))
            case GcmParameters(iv=iv, additional_data=additional_data, tag_bits=tag_bits):
                return binding.AES_GCM_Mechanism(bytes(iv), bytes(additional_data), tag_bits)
            case CtrParameters(counter_block=block, counter_bits=counter_bits):
                return binding.AES_CTR_Mechanism(counter_bits, bytes(block))
            case EcdhParameters(public_point=point):
                return binding.ECDH1_DERIVE_Mechanism(bytes(point))
            case plain:
                return binding.Mechanism(number, plain)


class _Attribute(ctypes.Structure):
    """CK_ATTRIBUTE (v3.0 §3.4)."""

    _fields_: ClassVar = [("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong)]


def _copy_object(path: Path) -> Native:
    """C_CopyObject of a module that is loaded already, which is the one function that PyKCS11 does not pass on."""
    library = ctypes.CDLL(str(path))
    functions = ctypes.POINTER(ctypes.c_void_p)()
    _check(library.C_GetFunctionList(ctypes.byref(functions)), "C_GetFunctionList")
    # It stays loaded for as long as PyKCS11 wants it, and no longer.
    ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))
    number = ctypes.c_ulong
    attributes = ctypes.POINTER(_Attribute)
    return ctypes.CFUNCTYPE(number, number, number, attributes, number, ctypes.POINTER(number))(functions[_COPY_OBJECT])


def _check(answer: int, function: str) -> None:
    if answer:
        raise CkrError(answer, function)


def _text(padded: str) -> str:
    return padded.rstrip(" \0")


def now_s() -> float:
    """A clock that never goes back."""
    return monotonic()


class SharedPage:
    """A few bytes that the processes forked after it have in common: the host writes them, the workers read them.

    Who reads while they are being written sees by their checksum that he did, and looks again.
    """

    _HEAD: Final = Struct("<BxxxIII")  # whether a PIN was refused; generation, length and checksum of the rest
    _SIZE_BYTES: Final = 64 * 1024

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._SIZE_BYTES)

    @property
    def generation(self) -> int:
        """It changes whenever the bytes do; 0 before there are any."""
        return int(self._HEAD.unpack_from(self._memory)[1])

    def read(self) -> tuple[int, bytes]:
        """The generation and its bytes."""
        while True:
            _, generation, length, checksum = self._HEAD.unpack_from(self._memory)
            data = self._memory[self._HEAD.size : self._HEAD.size + length]
            if zlib.crc32(data, generation) == checksum or not generation:
                return generation, data

    def write(self, data: bytes) -> None:
        """ValueError if there is too much of it."""
        if len(data) > self._SIZE_BYTES - self._HEAD.size:
            raise ValueError(f"{len(data)} bytes do not fit into the shared page")
        refused, generation, *_ = self._HEAD.unpack_from(self._memory)
        self._memory[self._HEAD.size : self._HEAD.size + len(data)] = data
        following = generation % 0xFFFFFFFF + 1
        self._HEAD.pack_into(self._memory, 0, refused, following, len(data), zlib.crc32(data, following))

    @property
    def refused(self) -> int:
        """The last byte of what the token answered to the PIN; 0 if it was not refused."""
        return self._memory[0]

    @refused.setter
    def refused(self, answer: int) -> None:
        self._memory[0] = answer


def process_id() -> int:
    return os.getpid()


def isolated(function: Callable[[], bytes]) -> bytes:
    """What ``function`` returns in a process forked for it, so that no module is ever loaded into this one.

    A PKCS#11 module may start threads, and one that was loaded before a fork is of no use after it (v3.0 §5.4: the
    child has to initialise anew). Raises the function's PsaError; UnavailableError if the process died or hung.
    """
    try:
        return run_apart(function, longest_s=_ISOLATED_S)
    except ApartError as error:
        what = "did not answer in a minute" if error.timed_out else "ended its process"
        raise UnavailableError(f"the PKCS#11 module {what}") from error


def read_pin_file(path: Path) -> Secret:
    """The first line of a file. UnavailableError if it cannot be read."""
    try:
        return Secret(path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r"))
    except OSError as error:
        raise UnavailableError(f"user_pin: {path} cannot be read: {error.strerror}") from error


def credential_path(name: str) -> Path:
    """Where systemd puts the credential of this name. UnavailableError outside of systemd."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        raise UnavailableError(f"user_pin: there is no credential {name}: the unit has no LoadCredential= for it")
    return Path(directory) / name
