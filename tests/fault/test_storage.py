"""A disk that is full and a store that is damaged: clear answers, and nothing is overwritten."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeroot.client import Client, templates
from edgeroot.client.errors import DoesNotExistError, ServiceError
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import DIGEST, ECDSA
from tests.support.service import Service, running_service

DISK_BYTES = 1 << 20
HEADER_BYTES = 100


@contextmanager
def service_on_a_small_disk() -> Iterator[Service]:
    with running_service(start=False) as service:
        store = service.store_path.parent
        store.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(store)], check=True)
        try:
            service.start()
            yield service
        finally:
            service.kill()
            subprocess.run(["umount", str(store)], check=True)


def fill(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        size_bytes = 65536
        while size_bytes:
            try:
                file.write(bytes(size_bytes))
            except OSError:
                size_bytes //= 2
    return filler


def create_until_refused(client: Client, prefix: str) -> tuple[list[str], ResponseStatus]:
    names: list[str] = []
    while len(names) < 5000:
        name = f"{prefix}{len(names)}"
        try:
            client.generate_key(name, templates.ecdsa_p256())
        except ServiceError as error:
            return names, error.status
        names.append(name)
    raise AssertionError("the disk was never full")


@pytest.mark.usefixtures("as_root")
def test_a_full_disk_is_told_and_the_service_goes_on() -> None:
    with service_on_a_small_disk() as service, service.client() as client:
        client.generate_key("before", templates.ecdsa_p256())
        filler = fill(service.store_path.parent)

        names, status = create_until_refused(client, "full-")
        assert status == ResponseStatus.PSA_ERROR_INSUFFICIENT_STORAGE
        for name in ["before", *names]:  # what is there is there, and can be used
            client.sign_hash(name, ECDSA, DIGEST)
        assert {key.name for key in client.list_keys()} == {"before", *names}
        with pytest.raises(DoesNotExistError):
            client.sign_hash(f"full-{len(names)}", ECDSA, DIGEST)

        filler.unlink()
        client.generate_key(f"full-{len(names)}", templates.ecdsa_p256())  # the refused name is free
        client.destroy_key("before")
        expected = {*names, f"full-{len(names)}"}
        assert {key.name for key in client.list_keys()} == expected

        service.kill()
        service.start()
        assert {key.name for key in client.list_keys()} == expected
        for name in expected:
            client.sign_hash(name, ECDSA, DIGEST)


@pytest.mark.usefixtures("as_root")
def test_killed_on_a_full_disk_nothing_is_lost() -> None:
    with service_on_a_small_disk() as service, service.client() as client:
        filler = fill(service.store_path.parent)
        names, _ = create_until_refused(client, "full-")
        service.kill()
        filler.unlink()
        service.start()
        assert {key.name for key in client.list_keys()} == set(names)
        client.generate_key("after", templates.ecdsa_p256())


def damage(path: Path) -> bytes:
    """Everything behind the header becomes noise; the file's new content."""
    content = path.read_bytes()
    damaged = content[:HEADER_BYTES] + bytes(byte ^ 0xA5 for byte in content[HEADER_BYTES:])
    with path.open("r+b") as file:
        file.write(damaged)
    return damaged


@contextmanager
def stopped_service_with_keys() -> Iterator[Service]:
    with running_service() as service:
        with service.client() as client:
            for number in range(40):
                client.generate_key(f"key-{number}", templates.ecdsa_p256())
        assert service.stop() == 0
        yield service


def files(service: Service) -> dict[str, bytes]:
    """What there is to lose: all but the empty log and its index, which SQLite makes when it opens a file to read."""
    found = {path.name: path.read_bytes() for path in service.store_path.parent.iterdir() if path.is_file()}
    return {name: content for name, content in found.items() if content and not name.endswith("-shm")}


@pytest.mark.parametrize("how", ["noise", "not a database", "half of it", "nothing but zeros"])
def test_a_damaged_store_is_refused_and_left_as_it_is(how: str) -> None:
    with stopped_service_with_keys() as service:
        path = service.store_path
        if how == "noise":
            damage(path)
        elif how == "not a database":
            path.write_bytes(b"What is this?" * 1000)
        elif how == "half of it":
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
        else:
            path.write_bytes(bytes(path.stat().st_size))
        before = files(service)

        service.start(wait=False)
        assert service.process is not None
        assert service.process.wait(30) not in {0, None}
        last = service.log().splitlines()[-1]
        assert str(path) in last
        assert "backup" in last
        assert "Traceback" not in service.log()
        assert files(service) == before


def test_a_lost_wrapping_key_is_told_and_no_new_one_is_made() -> None:
    with stopped_service_with_keys() as service:
        key_file = service.store_path.with_name(service.store_path.name + ".key")
        away = service.folder / "elsewhere"
        key_file.rename(away)
        before = files(service)

        service.start(wait=False)
        assert service.process is not None
        assert service.process.wait(30) not in {0, None}
        assert str(key_file) in service.log().splitlines()[-1]
        assert "Traceback" not in service.log()
        assert files(service) == before

        away.rename(key_file)
        service.start()
        with service.client() as client:
            client.sign_hash("key-0", ECDSA, DIGEST)


def test_a_store_that_is_damaged_while_it_is_used() -> None:
    with stopped_service_with_keys() as service:
        service.start()
        with service.client() as client:
            damaged = damage(service.store_path)
            statuses = set()
            for number in range(40):
                with pytest.raises(ServiceError) as refusal:
                    client.sign_hash(f"key-{number}", ECDSA, DIGEST)
                statuses.add(refusal.value.status)
            for attempt in (
                lambda: client.generate_key("new", templates.ecdsa_p256()),
                lambda: client.destroy_key("key-1"),
                client.list_keys,
            ):
                with pytest.raises(ServiceError) as refusal:
                    attempt()
                statuses.add(refusal.value.status)
            assert statuses == {ResponseStatus.KEY_INFO_MANAGER_ERROR}
            client.ping()  # what needs no store is served
            assert len(client.generate_random(16)) == 16
        assert "damaged" in service.log()
        assert service.store_path.read_bytes() == damaged
        service.stop()
        assert service.store_path.read_bytes() == damaged
