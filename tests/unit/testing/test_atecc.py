"""The emulated ATECC by itself: its packets, and what it refuses as the part does."""

from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from edgeroot.testing.atecc import Atecc, Model, crc16, key_config, slot_config
from edgeroot.testing.atecc.packets import Status
from edgeroot.testing.atecc.zones import KEY_OTHER, KEY_P256
from tests.support.secure_element import personalised

EXECUTION, PARSE, ECC = bytes([Status.EXECUTION_ERROR]), bytes([Status.PARSE_ERROR]), bytes([Status.ECC_FAULT])
OK, WRONG, CRC = bytes([Status.SUCCESS]), bytes([Status.MISCOMPARE]), bytes([Status.CRC_ERROR])


def packet(opcode: int, param1: int = 0, param2: int = 0, data: bytes = b"") -> bytes:
    body = bytes([7 + len(data), opcode, param1]) + param2.to_bytes(2, "little") + data
    return body + crc16(body)


def ask(part: Atecc, opcode: int, param1: int = 0, param2: int = 0, data: bytes = b"") -> bytes:
    return part.execute(packet(opcode, param1, param2, data))


@pytest.mark.parametrize(
    ("data", "crc"),
    # Answers and a command in the data sheet: after waking, success, and Info.
    [("0411", "3343"), ("0400", "0340"), ("0730000000", "035d")],
)
def test_crc_vectors(data: str, crc: str) -> None:
    assert crc16(bytes.fromhex(data)).hex() == crc


def test_waking_is_answered_once() -> None:
    part = Atecc(Model.ATECC608A)
    assert not part.write(b"\x03" + packet(0x30)), "a part that sleeps does not acknowledge"
    assert part.read(4) == b""
    part.wake()
    assert part.read(4).hex() == "04113343"
    part.write(b"\x03" + packet(0x30))
    part.write(b"\x00")
    assert part.read(1) == b"\x07"
    assert part.read(6).hex() == "000060028038"
    part.write(b"\x00")
    assert part.read(7).hex() == "07000060028038", "word address 0 begins the answer anew"


def test_sleeping_forgets_what_idling_keeps() -> None:
    part = personalised(Model.ATECC508A)
    signature = b"\x01" * 64
    for word, expected in ((b"\x02", WRONG), (b"\x01", EXECUTION)):
        part.wake()
        assert ask(part, 0x16, 3, 0, bytes(32)) == OK
        part.write(word)
        assert not part.is_awake
        part.wake()
        point = ask(part, 0x40, 4, 1)
        assert ask(part, 0x45, 2, KEY_P256, signature + point) == expected


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (packet(0x30)[:-1] + b"\0", CRC),
        (b"\x08" + packet(0x30)[1:], CRC),
        (b"\x04\x30" + crc16(b"\x04\x30"), PARSE),
        (packet(0x99), PARSE),
        (packet(0x30, 9), PARSE),
        (packet(0x1B, 5), PARSE),
        (packet(0x02, 3), PARSE),
        (packet(0x02, 0x80, 0x20), PARSE),
        (packet(0x02, 2, 0x0200), PARSE),
        (packet(0x12, 0x82, 0, bytes(31)), PARSE),
        (packet(0x16, 0, 0, bytes(19)), PARSE),
        (packet(0x16, 0x83, 0, bytes(32)), PARSE),
        (packet(0x41, 0, 1), PARSE),
        (packet(0x45, 2, 4, bytes(127)), PARSE),
        (packet(0x43, 0, 1, bytes(63)), PARSE),
        (packet(0x47, 1, 64, bytes(64)), PARSE),
        (packet(0x40, 4, 16), PARSE),
        (packet(0x17, 3), PARSE),
    ],
)
def test_malformed_commands(sent: bytes, status: bytes) -> None:
    assert personalised(Model.ATECC508A).execute(sent) == status


def test_before_the_configuration_is_locked() -> None:
    part = Atecc(Model.ATECC608A)
    assert ask(part, 0x1B) == b"\xff\xff\0\0" * 8
    assert ask(part, 0x40, 4, 0) == EXECUTION
    assert ask(part, 0x12, 0x82, 0x40, bytes(32)) == EXECUTION
    assert ask(part, 0x12, 0, 5, b"\x83\x20\x83\x20") == OK
    assert part.zones.config[20:24].hex() == "83208320"
    for word in (0, 3, 21):  # the factory's, and the word with the locks
        assert ask(part, 0x12, 0, word, bytes(4)) == EXECUTION
    assert ask(part, 0x12, 0x80, 16, bytes(32)) == EXECUTION, "the block has the locks in it"


def test_locking_checks_its_summary() -> None:
    part = Atecc(Model.ATECC608A)
    part.zones.set_slot(0, slot_config(read_key=1, write_config=2), key_config(KEY_P256, private=True, pub_info=True))
    assert ask(part, 0x17, 1) == EXECUTION, "data before configuration"
    assert ask(part, 0x17, 0, 0x1234) == EXECUTION
    assert not part.zones.is_config_locked
    assert ask(part, 0x17, 0, int.from_bytes(crc16(part.zones.config), "little")) == OK
    assert ask(part, 0x17, 0x80) == EXECUTION, "twice"
    assert ask(part, 0x12, 0, 5, bytes(4)) == EXECUTION
    assert len(ask(part, 0x40, 4, 0)) == 64
    assert ask(part, 0x16, 3, 0, bytes(32)) == OK
    assert ask(part, 0x41, 0x80, 0) == EXECUTION, "no signature before the data zone is locked"
    assert ask(part, 0x17, 0x81) == OK
    assert ask(part, 0x16, 3, 0, bytes(32)) == OK
    assert len(ask(part, 0x41, 0x80, 0)) == 64
    assert ask(part, 0x41, 0x80, 0) == EXECUTION, "a message is used up by its signature"


def test_a_locked_slot_keeps_its_content() -> None:
    part = personalised(Model.ATECC508A)
    point = ask(part, 0x40, 4, 1)
    assert ask(part, 0x17, 0x82 | 1 << 2) == OK
    assert ask(part, 0x40, 4, 1) == EXECUTION
    assert ask(part, 0x40, 0, 1) == point
    assert ask(part, 0x17, 0x82 | 9 << 2) == OK
    assert ask(part, 0x12, 0x82, 9 << 3, bytes(32)) == EXECUTION


def test_what_is_secret_is_not_read() -> None:
    part = personalised(Model.ATECC508A)
    ask(part, 0x40, 4, 1)
    for slot in (1, 4, 9):
        assert ask(part, 0x02, 0x82, slot << 3) == EXECUTION
    assert ask(part, 0x12, 0x82, 8 << 3, b"d" * 32) == OK
    assert ask(part, 0x02, 0x82, 8 << 3) == b"d" * 32
    assert ask(part, 0x02, 0x02, 8 << 3 | 7) == b"d" * 4


def test_an_encrypted_write_needs_the_key_of_its_slot() -> None:
    part = personalised(Model.ATECC508A)
    sealed = packet(0x12, 0xC2, 10 << 3, bytes(64))
    assert part.execute(sealed) == EXECUTION, "without a nonce"
    ask(part, 0x16, 0, 0, bytes(20))
    assert part.execute(sealed) == EXECUTION, "without GenDig"
    ask(part, 0x16, 3, 0, bytes(32))
    assert ask(part, 0x15, 2, 4) == OK
    assert part.execute(sealed) == EXECUTION, "with a nonce that the host chose"
    ask(part, 0x16, 0, 0, bytes(20))
    assert ask(part, 0x15, 2, 9) == OK
    assert part.execute(sealed) == EXECUTION, "with another slot's key"
    ask(part, 0x16, 0, 0, bytes(20))
    assert ask(part, 0x15, 2, 4) == OK
    assert part.execute(sealed) == WRONG, "with a MAC that does not fit"


def test_a_point_that_is_not_on_the_curve_is_a_fault() -> None:
    part = personalised(Model.ATECC508A)
    ask(part, 0x40, 4, 2)
    assert ask(part, 0x43, 0, 2, bytes(64)) == ECC
    ask(part, 0x16, 3, 0, bytes(32))
    assert ask(part, 0x45, 2, KEY_P256, bytes(128)) == ECC
    assert ask(part, 0x40, 0, 3) == ECC, "a slot without a key has no public key"


def test_the_result_of_an_agreement_may_stay_inside() -> None:
    part = Atecc(Model.ATECC508A)
    pair = key_config(KEY_P256, private=True, pub_info=True)
    part.zones.set_slot(2, slot_config(read_key=4 | 8, write_config=2), pair)
    part.zones.set_slot(3, slot_config(), key_config(KEY_OTHER))
    part.zones.lock_config()
    part.zones.lock_data()
    point = ask(part, 0x40, 4, 2)
    assert ask(part, 0x43, 0, 2, point) == OK
    assert part.zones.read_slot(3)[:32] != bytes(32)


def test_a_part_that_protects_agreements_gives_none_in_the_clear() -> None:
    part = personalised(Model.ATECC608A)
    point = ask(part, 0x40, 4, 2)
    assert len(ask(part, 0x43, 0, 2, point)) == 32
    part.zones.write_config(91, b"\x01")
    assert ask(part, 0x43, 0, 2, point) == EXECUTION


def test_a_secret_is_written_in_whole_blocks() -> None:
    part = personalised(Model.ATECC508A)
    assert ask(part, 0x12, 0x02, 9 << 3, bytes(4)) == EXECUTION
    assert ask(part, 0x12, 0x02, 8 << 3, bytes(4)) == OK


def test_ecdsa_vector() -> None:
    """RFC 6979, A.2.5: P-256 with SHA-256, message "sample"."""
    part = personalised(Model.ATECC508A)
    point = bytes.fromhex(
        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
    )
    signature = bytes.fromhex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )
    for message, expected in ((b"sample", OK), (b"simple", WRONG)):
        ask(part, 0x16, 3, 0, hashlib.sha256(message).digest())
        assert ask(part, 0x45, 2, KEY_P256, signature + point) == expected
    part.zones.write_slot(11, 0, bytes(4) + point[:32] + bytes(4) + point[32:])
    ask(part, 0x16, 3, 0, hashlib.sha256(b"sample").digest())
    assert ask(part, 0x45, 0, 11, signature) == OK


def test_sha256_vector() -> None:
    """FIPS 180-4's example of two blocks."""
    part = personalised(Model.ATECC508A)
    message = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    ask(part, 0x47, 0)
    digest = ask(part, 0x47, 2, len(message), message)
    assert digest.hex() == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ask(part, 0x47, 0)
    assert ask(part, 0x47, 1, 64, bytes(64)) == OK
    assert ask(part, 0x47, 2, 1, b"\0") == hashlib.sha256(bytes(65)).digest()


@pytest.mark.parametrize(("model", "end"), [(Model.ATECC508A, 5), (Model.ATECC608A, 2)])
def test_hmac_vector(model: Model, end: int) -> None:
    """RFC 4231, case 2: a key that is shorter than the slot is followed by zeros, as HMAC itself would have it."""
    part = personalised(model)
    part.zones.write_slot(9, 0, b"Jefe".ljust(32, b"\0"))
    assert ask(part, 0x47, 4, 9) == OK
    message = b"what do ya want for nothing?"
    mac = ask(part, 0x47, end, len(message), message)
    assert mac.hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert ask(part, 0x47, 4, 1) == EXECUTION


def test_aes_vector_and_multiplication() -> None:
    """FIPS 197, C.1; and the product by which AES-GCM of nothing but additional data is made (SP 800-38D §7.1)."""
    part = personalised(Model.ATECC608A)
    part.zones.write_slot(6, 0, bytes(range(16)))
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert ask(part, 0x51, 0, 6, block).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    assert ask(part, 0x51, 1, 6, bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")) == block
    assert ask(part, 0x51, 0, 9, block) == EXECUTION, "a slot whose type is not AES"
    subkey, nonce, data = ask(part, 0x51, 0, 6, bytes(16)), bytes(12), os.urandom(16)
    hashed = ask(part, 0x51, 3, 0, subkey + data)
    lengths = (128).to_bytes(8, "big") + bytes(8)
    mixed = bytes(one ^ other for one, other in zip(hashed, lengths, strict=True))
    hashed = ask(part, 0x51, 3, 0, subkey + mixed)
    mask = ask(part, 0x51, 0, 6, nonce + b"\0\0\0\x01")
    encryptor = Cipher(algorithms.AES(bytes(range(16))), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(data)
    encryptor.finalize()
    assert bytes(one ^ other for one, other in zip(hashed, mask, strict=True)) == encryptor.tag


def test_aes_can_be_switched_off_and_is_not_in_the_508() -> None:
    part = personalised(Model.ATECC608A)
    part.zones.write_config(13, b"\0")
    assert ask(part, 0x51, 0, 6, bytes(16)) == EXECUTION
    assert ask(personalised(Model.ATECC508A), 0x51, 0, 6, bytes(16)) == PARSE


def test_forked_processes_share_what_it_keeps() -> None:
    part = personalised(Model.ATECC508A)
    child = os.fork()
    if child == 0:
        part.execute(packet(0x40, 4, 1))
        os._exit(0)
    os.waitpid(child, 0)
    assert len(ask(part, 0x40, 0, 1)) == 64
