"""The module as PKCS#11's own tools see it, and as a program that means it ill."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import PyKCS11
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edgeroot.client import templates
from edgeroot.psa import Hash
from peers import PeersRoot, UpstreamService
from tests.support.forked import outcome_of
from tests.support.pkcs11_module import PATH, Programs, module
from tests.support.service import running_service

CKR_ARGUMENTS_BAD = 0x07
CKR_BUFFER_TOO_SMALL = 0x150
CKR_SESSION_HANDLE_INVALID = 0xB3
CKR_OPERATION_NOT_INITIALIZED = 0x91
CKR_CRYPTOKI_NOT_INITIALIZED = 0x190


def test_the_tool_tests_it(programs: Programs) -> None:
    programs.pkcs11_tool("--keypairgen", "--key-type", "rsa:2048", "--label", "signer", "--usage-sign")
    programs.pkcs11_tool("--keypairgen", "--key-type", "EC:secp384r1", "--label", "other", "--id", "02")
    said = programs.pkcs11_tool("--test")
    assert said.splitlines()[-1] == "No errors"
    for row in ("all 4 digest functions seem to work", "all 4 signature functions seem to work", "RSA-PKCS: OK"):
        assert row in said


def test_what_a_tool_makes_the_service_has(programs: Programs) -> None:
    programs.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "plain")
    programs.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "a b", "--id", "01ff")
    with programs.service.client() as client:
        assert {one.name for one in client.list_keys()} == {"plain", "pkcs11:id=%01%FF;object=a%20b"}
    listed = programs.pkcs11_tool("--list-objects", "--type", "privkey", "--id", "01ff")
    assert "label:      a b" in listed
    assert "sensitive, always sensitive, never extractable" in listed
    programs.pkcs11_tool("--delete-object", "--type", "privkey", "--id", "01ff")
    with programs.service.client() as client:
        assert [one.name for one in client.list_keys()] == ["plain"]


def test_a_key_that_is_there_is_not_replaced(programs: Programs) -> None:
    programs.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "device")
    with pytest.raises(AssertionError, match="CKR_ATTRIBUTE_VALUE_INVALID"):
        programs.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "device")


@pytest.mark.parametrize("mechanism", ["RSA-PKCS", "RSA-PKCS-OAEP"])
def test_decryption(programs: Programs, mechanism: str) -> None:
    template = templates.rsa_oaep() if mechanism.endswith("OAEP") else templates.rsa_pkcs1v15_crypt()
    with programs.service.client() as client:
        client.generate_key("files", template)
        public_key = client.private_key("files").public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    sealed, plain = programs.path("sealed"), programs.path("plain")
    sealed.write_bytes(public_key.encrypt(b"secret", oaep if mechanism.endswith("OAEP") else padding.PKCS1v15()))
    options = ("--hash-algorithm", "SHA256", "--mgf", "MGF1-SHA256") if mechanism.endswith("OAEP") else ()
    programs.pkcs11_tool(
        "--decrypt", "-m", mechanism, *options, "--label", "files", "-i", sealed, "-o", plain
    )  # fmt: skip
    assert plain.read_bytes() == b"secret"


def test_derivation(programs: Programs) -> None:
    peer = ec.generate_private_key(ec.SECP256R1())
    programs.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "agree", "--usage-derive")
    public, secret = programs.path("peer.der"), programs.path("secret")
    public.write_bytes(
        peer.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    programs.pkcs11_tool("--derive", "-m", "ECDH1-DERIVE", "--label", "agree", "-i", public, "-o", secret)
    exported = programs.pkcs11_tool("--read-object", "--type", "pubkey", "--label", "agree", "-o", programs.path("own"))
    assert exported == ""
    own = load_der_public_key(programs.path("own").read_bytes())
    assert isinstance(own, ec.EllipticCurvePublicKey)
    assert secret.read_bytes() == peer.exchange(ec.ECDH(), own)


@pytest.fixture
def library(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[PyKCS11.PyKCS11Lib]:
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", programs.service.endpoint)
    loaded = PyKCS11.PyKCS11Lib()
    loaded.load(str(module()))
    yield loaded
    loaded.lib.C_Finalize()


def own_key(session: PyKCS11.Session, label: str) -> PyKCS11.CK_OBJECT_HANDLE:
    (found,) = session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_LABEL, label)])
    return found


def test_threads_share_a_module(programs: Programs, library: PyKCS11.PyKCS11Lib) -> None:
    with programs.service.client() as client:
        client.generate_key("device", templates.ecdsa_p256(Hash.ANY))
        public_key = client.private_key("device").public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    slot = library.getSlotList()[0]
    failures: list[Exception] = []

    def sign(number: int) -> None:
        try:
            session = library.openSession(slot)
            key = own_key(session, "device")
            for round_number in range(25):
                message = b"%d %d" % (number, round_number)
                raw = bytes(session.sign(key, message, PyKCS11.Mechanism(PyKCS11.CKM_ECDSA_SHA256, None)))
                signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
                public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            session.closeSession()
        except (AssertionError, InvalidSignature, PyKCS11.PyKCS11Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=sign, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures


def test_session_keys_end_with_their_session(programs: Programs, library: PyKCS11.PyKCS11Lib) -> None:
    slot = library.getSlotList()[0]
    session = library.openSession(slot, PyKCS11.CKF_SERIAL_SESSION | PyKCS11.CKF_RW_SESSION)
    curve = [(PyKCS11.CKA_EC_PARAMS, bytes.fromhex("06082a8648ce3d030107")), (PyKCS11.CKA_TOKEN, PyKCS11.CK_FALSE)]
    public, private = session.generateKeyPair(
        curve, [(PyKCS11.CKA_TOKEN, PyKCS11.CK_FALSE)], PyKCS11.Mechanism(PyKCS11.CKM_EC_KEY_PAIR_GEN, None)
    )
    mechanism = PyKCS11.Mechanism(PyKCS11.CKM_ECDSA_SHA256, None)
    signature = session.sign(private, b"message", mechanism)
    assert session.verify(public, b"message", signature, mechanism)
    assert not session.verify(public, b"another", signature, mechanism)
    with programs.service.client() as client:
        assert len(client.list_keys()) == 1
    session.closeSession()
    with programs.service.client() as client:
        assert client.list_keys() == ()


def test_a_child_begins_anew(programs: Programs, library: PyKCS11.PyKCS11Lib) -> None:
    with programs.service.client() as client:
        client.generate_key("device", templates.ecdsa_p256())
    slot = library.getSlotList()[0]
    session = library.openSession(slot)
    key = own_key(session, "device")

    def in_the_child() -> tuple[int, int]:
        raw = ctypes.CDLL(str(PATH))
        refused = raw.C_GetInfo(ctypes.create_string_buffer(512))
        assert raw.C_Initialize(None) == 0
        own = library.openSession(slot)
        mechanism = PyKCS11.Mechanism(PyKCS11.CKM_ECDSA_SHA256, None)
        return refused, len(own.sign(own_key(own, "device"), b"m", mechanism))

    assert outcome_of(in_the_child) == (CKR_CRYPTOKI_NOT_INITIALIZED, 64)
    assert len(session.sign(key, b"m", PyKCS11.Mechanism(PyKCS11.CKM_ECDSA_SHA256, None))) == 64


def test_a_service_that_comes_back_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_service() as service:
        monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", service.endpoint)
        with service.client() as client:
            client.generate_key("device", templates.ecdsa_p256())

        loaded = PyKCS11.PyKCS11Lib()
        loaded.load(str(module()))
        try:
            session = loaded.openSession(loaded.getSlotList()[0])
            key, mechanism = own_key(session, "device"), PyKCS11.Mechanism(PyKCS11.CKM_ECDSA_SHA256, None)
            assert len(session.sign(key, b"m", mechanism)) == 64
            service.stop()
            with pytest.raises(PyKCS11.PyKCS11Error, match="CKR_DEVICE_ERROR"):
                session.sign(key, b"m", mechanism)
            service.start()
            assert len(session.sign(key, b"m", mechanism)) == 64
        finally:
            loaded.lib.C_Finalize()


def test_a_service_that_hangs_up_costs_the_program_nothing_but_the_answer(tmp_path: Path) -> None:
    """It closes while the program still sends, which would be the signal SIGPIPE."""
    with running_service(core="body_len_limit = 4096") as service:
        programs = Programs(service, tmp_path)
        large = programs.path("large")
        large.write_bytes(bytes(900_000))
        command = ["pkcs11-tool", "--module", str(module()), "--hash", "-m", "SHA256", "-i", str(large)]
        done = subprocess.run(
            [*command, "-o", "/dev/null"], env=programs.environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "CKR_DEVICE_ERROR" in done.stderr


def test_it_works_with_upstreams_service(
    peers_root: PeersRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ends each connection after an answer, signs no messages, and shows no names of providers."""
    del peers_root
    with UpstreamService() as upstream:
        monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", f"unix:{upstream.socket_path}")

        def many() -> list[int]:
            loaded = PyKCS11.PyKCS11Lib()
            loaded.load(str(module()))
            session = loaded.openSession(loaded.getSlotList()[0], PyKCS11.CKF_SERIAL_SESSION | PyKCS11.CKF_RW_SESSION)
            label, curve = (PyKCS11.CKA_LABEL, "theirs"), bytes.fromhex("06082a8648ce3d030107")
            on_token = (PyKCS11.CKA_TOKEN, PyKCS11.CK_TRUE)
            public, private = session.generateKeyPair(
                [(PyKCS11.CKA_EC_PARAMS, curve), on_token],
                [label, on_token],
                PyKCS11.Mechanism(PyKCS11.CKM_EC_KEY_PAIR_GEN, None),
            )
            mechanism = PyKCS11.Mechanism(PyKCS11.CKM_ECDSA_SHA256, None)
            signatures = [session.sign(private, b"m", mechanism) for _ in range(5)]
            return [len(one) for one in signatures if session.verify(public, b"m", one, mechanism)]

        assert outcome_of(many) == [64] * 5
        listed = subprocess.run(
            ["pkcs11-tool", "--module", str(module()), "--list-objects", "--type", "privkey"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "label:      theirs" in listed


def test_nothing_a_program_passes_breaks_it(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """NULL, handles that are none, lengths that lie: each is told, and the process lives on."""
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", programs.service.endpoint)

    def abuse() -> list[int]:
        raw = ctypes.CDLL(str(PATH))
        count, session = ctypes.c_ulong(0), ctypes.c_ulong(0)
        huge = ctypes.c_ulong(2**64 - 1)
        null = ctypes.c_void_p(None)
        told = [raw.C_GetSlotList(1, null, ctypes.byref(count)), raw.C_Initialize(null)]
        told += [raw.C_GetFunctionList(null), raw.C_GetInfo(null), raw.C_GetSlotList(1, null, null)]
        assert raw.C_GetSlotList(1, null, ctypes.byref(count)) == 0
        assert count.value == 1
        count.value = 0
        told += [raw.C_GetSlotList(1, ctypes.byref(ctypes.c_ulong()), ctypes.byref(count))]
        told += [raw.C_OpenSession(1, 4, null, null, null), raw.C_GetSessionInfo(77, ctypes.create_string_buffer(99))]
        assert raw.C_OpenSession(1, 4, null, null, ctypes.byref(session)) == 0
        told += [raw.C_FindObjectsInit(session, null, ctypes.c_ulong(3))]
        told += [raw.C_FindObjectsInit(session, ctypes.create_string_buffer(64), huge)]
        told += [raw.C_SignUpdate(session, null, ctypes.c_ulong(5)), raw.C_SignInit(ctypes.c_ulong(9), null, 1)]
        told += [raw.C_GenerateRandom(session, null, ctypes.c_ulong(16)), raw.C_GenerateRandom(session, null, huge)]
        told += [raw.C_GetAttributeValue(session, ctypes.c_ulong(123), null, 0), raw.C_CloseSession(huge)]
        told += [raw.C_Finalize(ctypes.c_void_p(1)), raw.C_Finalize(null), raw.C_Finalize(null)]
        return told

    bad, no_session, late = CKR_ARGUMENTS_BAD, CKR_SESSION_HANDLE_INVALID, CKR_CRYPTOKI_NOT_INITIALIZED
    assert outcome_of(abuse) == [
        late, 0,
        bad, bad, bad,
        CKR_BUFFER_TOO_SMALL,
        bad, no_session,
        bad,
        bad,
        CKR_OPERATION_NOT_INITIALIZED, no_session,
        bad, bad,
        0x82, no_session,
        bad, 0, late,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_keys_are_brought_along(programs: Programs, kind: str) -> None:
    """pkcs11-tool takes the private and the public half apart; the service needs the first alone."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path, signature = programs.path("key.der"), programs.path("signature")
    path.write_bytes(key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption()))
    programs.pkcs11_tool("--write-object", path, "--type", "privkey", "--label", "brought", "--usage-sign")
    message = programs.path("message")
    message.write_bytes(b"message")
    mechanism = "ECDSA-SHA256" if kind == "EC" else "SHA256-RSA-PKCS"
    programs.pkcs11_tool("--sign", "-m", mechanism, "--label", "brought", "-i", message, "-o", signature)
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(signature.read_bytes(), b"message", padding.PKCS1v15(), hashes.SHA256())
    else:
        raw = signature.read_bytes()
        der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        key.public_key().verify(der, b"message", ec.ECDSA(hashes.SHA256()))
    listed = programs.pkcs11_tool("--list-objects", "--type", "privkey")
    assert "sensitive, always sensitive, never extractable" in listed
