from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from edgeroot.providers.pkcs11 import native
from edgeroot.providers.pkcs11.errors import UnavailableError
from edgeroot.providers.pkcs11.native import Module, SharedPage, credential_path, isolated, read_pin_file
from edgeroot.psa import PsaError, PsaStatus
from tests.support.forked import children


def test_what_an_isolated_function_returns_comes_back() -> None:
    assert isolated(lambda: b"x" * 200_000) == b"x" * 200_000
    assert isolated(lambda: b"") == b""
    assert isolated(lambda: str(os.getpid()).encode()) != str(os.getpid()).encode()


def test_the_error_of_an_isolated_function_comes_back() -> None:
    def fail() -> bytes:
        raise PsaError(PsaStatus.HARDWARE_FAILURE, "why, and what to do")

    with pytest.raises(PsaError, match="why, and what to do") as raised:
        isolated(fail)
    assert raised.value.status is PsaStatus.HARDWARE_FAILURE


def test_a_module_that_takes_its_process_along_takes_no_other() -> None:
    def crash() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b"never"

    with pytest.raises(UnavailableError, match="ended its process"):
        isolated(crash)


def test_a_module_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_ISOLATED_S", 0.1)

    def hang() -> bytes:
        threading.Event().wait()
        return b"never"

    before = children()
    with pytest.raises(UnavailableError, match="did not answer"):
        isolated(hang)
    assert children() == before


def test_a_page_is_read_by_other_processes() -> None:
    page = SharedPage()
    assert (page.generation, page.refused) == (0, 0)

    def write() -> bytes:
        page.write(b"first")
        page.refused = 0xA0
        page.write(b"second, longer")
        return b""

    isolated(write)
    assert page.read() == (2, b"second, longer")
    assert page.refused == 0xA0


def test_a_page_has_an_end() -> None:
    page = SharedPage()
    with pytest.raises(ValueError, match="do not fit"):
        page.write(bytes(64 * 1024))
    assert page.generation == 0


def test_a_page_that_is_being_written_is_not_read_half() -> None:
    page = SharedPage()
    done = threading.Event()

    def write() -> None:
        for number in range(3000):
            page.write(bytes([number % 251]) * (1 + number % 4000))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        _, data = page.read()
        assert len(set(data)) <= 1
    writer.join()


def test_a_module_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="correct library_path"):
        Module(tmp_path / "missing.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        Module(tmp_path / "text.so")


def test_a_pin_file_has_one_line(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_bytes(b"12 34\r\nanything else\n")
    assert read_pin_file(path) == b"12 34"
    with pytest.raises(UnavailableError, match=f"user_pin: {tmp_path / 'none'} cannot be read: No such file"):
        read_pin_file(tmp_path / "none")


def test_a_credential_is_where_systemd_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/parsec.service")
    assert credential_path("pin") == Path("/run/credentials/parsec.service/pin")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(UnavailableError, match="LoadCredential"):
        credential_path("pin")
