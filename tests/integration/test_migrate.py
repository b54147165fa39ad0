"""``edgeroot migrate`` over stores that upstream's genuine service has written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from hashlib import sha256, sha384
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.client import Client, templates
from edgeroot.client.errors import DoesNotExistError
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.tee.psa import PsaClient, PsaKeyAttributes
from edgeroot.testing.atecc import Model, curve
from peers import PeersRoot, UpstreamService
from tests.support.clients import as_user
from tests.support.element_service import PROVIDER as IN_ELEMENT
from tests.support.element_service import ElementService
from tests.support.secure_element import roomy
from tests.support.service import Service, running_service
from tests.support.swtpm import running_swtpm
from tests.support.world import running_world, with_world

HASH = sha256(b"before and after").digest()
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
RSA = Algorithm.rsa_pkcs1v15_sign(Hash.SHA_256)
OAEP = Algorithm.rsa_oaep(Hash.SHA_256)
STRANGER = 64077
VERIFYING = KeyAttributes(KeyType.ecc_public_key(EccFamily.SECP_R1), 256, UsageFlags.VERIFY_HASH, ECDSA)
TPM = '[[provider]]\nprovider_type = "Tpm"\nkey_info_manager = "{}"\ntcti = "{}"\nowner_hierarchy_auth = ""\n'
TOKEN = (
    '[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "kim"\n'
    'library_path = "/usr/lib/softhsm/libsofthsm2.so"\ntoken_label = "token"\nuser_pin = "{}"\n'
)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, peers_root: PeersRoot) -> Path:
    """What a service of upstream's left: keys of root's and of another user's, and a ciphertext."""
    del peers_root
    folder = tmp_path_factory.mktemp("left") / "upstream"
    with UpstreamService() as upstream:
        endpoint = f"unix:{upstream.socket_path}"
        with Client(endpoint) as client:
            client.generate_key("ec", templates.ecdsa_p256())
            client.generate_key("rsa/☃", templates.rsa_signing())
            client.generate_key("open", templates.rsa_oaep())
            ciphertext = client.asymmetric_encrypt("open", OAEP, b"told before")
            public = client.export_public_key("ec")

        def strangers() -> None:
            with Client(endpoint) as client:
                client.generate_key("ec", templates.ecdsa_p256())

        as_user(STRANGER, strangers)
        shutil.copytree(upstream.folder, folder, ignore=shutil.ignore_patterns("*.sock"))
    (folder / "ciphertext").write_bytes(ciphertext)
    (folder / "public").write_bytes(public)
    return folder


@pytest.fixture
def service(left: Path) -> Iterator[Service]:
    with running_service(start=False) as one:
        one.store_path.parent.mkdir()
        shutil.copy(left / "store.sqlite3", one.store_path.parent / "kim.sqlite3")
        yield one


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(service: Service, key_files: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "edgeroot", "--json", "migrate", "-c", str(service.config_path)]
    return [*program, "--key-files", str(key_files), *options]


def migrate(
    service: Service,
    key_files: Path,
    *options: str,
    code: int = 0,
    environment: Mapping[str, str] | None = None,
    launcher: tuple[str, ...] = (),
) -> dict[str, Any]:
    done = subprocess.run(
        [*launcher, *command(service, key_files, *options)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == code, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def check_keys(service: Service, left: Path) -> None:
    """Every key signs, decrypts and is listed, for its owner and for nobody else."""
    public = (left / "public").read_bytes()
    with service.client() as client:
        assert sorted(key.name for key in client.list_keys()) == ["ec", "open", "rsa/☃"]
        assert client.export_public_key("ec") == public
        for name, algorithm in (("ec", ECDSA), ("rsa/☃", RSA)):
            signature = client.sign_hash(name, algorithm, HASH)
            client.verify_hash(name, algorithm, HASH, signature)
        ciphertext = (left / "ciphertext").read_bytes()
        assert client.asymmetric_decrypt("open", OAEP, ciphertext) == b"told before"

    def strangers() -> None:
        with service.client() as client:
            assert [key.name for key in client.list_keys()] == ["ec"]
            assert client.export_public_key("ec") != public
            with pytest.raises(DoesNotExistError):
                client.sign_hash("rsa/☃", RSA, HASH)

    as_user(STRANGER, strangers)


def test_every_key_works_on_under_its_name_for_the_same_user(service: Service, left: Path) -> None:
    folder = service.store_path.parent
    before = contents(left), contents(folder)
    planned = migrate(service, left)
    assert not planned["applied"]
    assert [key["problem"] for key in planned["keys"]] == [None] * 4
    assert (contents(left), contents(folder)) == before

    assert migrate(service, left, "--apply")["applied"]
    assert contents(left) == before[0]
    assert contents(folder)[folder / "kim.sqlite3"] == before[1][folder / "kim.sqlite3"]
    service.start()
    check_keys(service, left)
    with service.client() as client:
        client.destroy_key("ec")
    service.end()
    assert migrate(service, left, "--apply")["keys"] == []
    service.start()
    with service.client() as client:
        assert sorted(key.name for key in client.list_keys()) == ["open", "rsa/☃"]


def test_keys_in_a_folder_are_taken_over_too(service: Service, left: Path) -> None:
    """The genuine records, laid out as upstream's OnDisk manager does it."""
    folder = service.store_path.parent / "mappings"
    with closing(sqlite3.connect(service.store_path.parent / "kim.sqlite3")) as connection:
        rows = connection.execute(
            "SELECT application_name, key_name, key_id, key_attributes FROM key_mapping WHERE authenticator_id <> 255"
        ).fetchall()
    for application, name, key_id, attributes in rows:
        place = folder / urlsafe_b64encode(application.encode()).decode() / "1"
        place.mkdir(parents=True, exist_ok=True)
        info = pack("<Q", len(key_id)) + key_id + attributes
        (place / urlsafe_b64encode(name.encode()).decode()).write_bytes(info)
    (service.store_path.parent / "kim.sqlite3").unlink()
    text = service.config_path.read_text()
    was = f'manager_type = "SQLite"\nsqlite_db_path = "{folder.parent}/kim.sqlite3"'
    assert was in text
    service.config_path.write_text(text.replace(was, f'manager_type = "OnDisk"\nstore_path = "{folder}"'))
    before = contents(folder)
    migrate(service, left, "--apply")
    assert contents(folder) == before
    service.start()
    check_keys(service, left)


def test_it_is_run_again_after_it_was_killed_at_any_moment(service: Service, left: Path) -> None:
    delay_s = 0.05
    while True:
        running = subprocess.Popen(command(service, left, "--apply"), stdout=subprocess.DEVNULL)
        try:
            assert running.wait(delay_s) == 0
            break
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        delay_s *= 1.1
    service.start()
    check_keys(service, left)


def _lose(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(("damage", "said"), [(_lose, "cannot be read"), (_cut, "not the length that it says")])
def test_a_key_without_its_material_keeps_everything_as_it_is(
    service: Service, left: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    key_files = tmp_path / "files"
    shutil.copytree(left, key_files)
    damage(max(key_files.glob("*.psa_its")))
    shown = migrate(service, key_files, "--apply", code=1)
    assert not shown["applied"]
    [problem] = [key["problem"] for key in shown["keys"] if key["problem"]]
    assert said in problem
    assert not service.store_path.exists()

    assert migrate(service, key_files, "--apply", "--leave-failed", code=1)["applied"]
    service.start()
    with service.client() as client:
        client.sign_hash("ec", ECDSA, HASH)


def test_a_key_of_another_type_of_provider_is_not_taken_for_ours(service: Service, left: Path) -> None:
    with closing(sqlite3.connect(service.store_path.parent / "kim.sqlite3")) as connection:
        connection.execute("UPDATE key_mapping SET provider_uuid = '30e39502-eba6-4d60-a4af-c518b7f5e38f'")
        connection.commit()
    shown = migrate(service, left, "--apply", code=1)
    assert {key["problem"].partition("is of")[1] for key in shown["keys"]} == {"is of"}


def test_another_key_of_the_same_name_is_kept(service: Service, left: Path) -> None:
    kept = service.store_path.parent / "kim.sqlite3"
    aside = kept.rename(kept.with_name("aside"))
    service.start()
    with service.client() as client:
        client.generate_key("ec", templates.ecdsa_p256())
        ours = client.export_public_key("ec")
    service.end()
    aside.rename(kept)
    done = subprocess.run(command(service, left, "--apply"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "another key" in done.stdout + done.stderr
    kept.rename(aside)
    service.start()
    with service.client() as client:
        assert client.export_public_key("ec") == ours


def test_it_leaves_a_running_service_alone(service: Service, left: Path) -> None:
    kept = service.store_path.parent / "kim.sqlite3"
    aside = kept.rename(kept.with_name("aside"))
    service.start()
    aside.rename(kept)
    done = subprocess.run(command(service, left, "--apply"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "stop it first" in done.stdout + done.stderr


def test_keys_in_a_token_stay_there_and_work_on(peers_root: PeersRoot, tmp_path: Path) -> None:
    del peers_root
    with UpstreamService(token=True) as upstream:
        with Client(f"unix:{upstream.socket_path}", provider=2) as client:
            client.generate_key("ec", templates.ecdsa_p256())
            client.generate_key("rsa", templates.rsa_signing())
            public = client.export_public_key("ec")
        config = (upstream.folder / "softhsm2.conf").read_text()
        pin = (upstream.folder / "config.toml").read_text().partition('user_pin = "')[2].partition('"')[0]
        shutil.copytree(upstream.folder, tmp_path / "left", ignore=shutil.ignore_patterns("*.sock"))
    tokens = next(line for line in config.splitlines() if "tokendir" in line)
    folder = tmp_path / "left" / Path(tokens.partition("=")[2].strip()).name
    environment = {"SOFTHSM2_CONF": str(tmp_path / "softhsm2.conf")}
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {folder}\nlog.level = ERROR\n")
    with running_service(provider=TOKEN.format(pin), start=False) as service:
        service.store_path.parent.mkdir()
        shutil.copy(tmp_path / "left" / "store.sqlite3", service.store_path.parent / "kim.sqlite3")
        shown = migrate(service, tmp_path / "left", "--apply", environment=environment)
        assert [key["key_name"] for key in shown["keys"]] == ["ec", "rsa"]
        service.start(environment=environment)
        with service.client(provider=2) as client:
            assert client.export_public_key("ec") == public
            for name, algorithm in (("ec", ECDSA), ("rsa", RSA)):
                signature = client.sign_hash(name, algorithm, HASH)
                client.verify_hash(name, algorithm, HASH, signature)
            client.destroy_key("ec")
            assert [key.name for key in client.list_keys()] == ["rsa"]


def test_keys_of_a_tpm_stay_in_it_and_work_on(peers_root: PeersRoot, tmp_path: Path) -> None:
    del peers_root
    left, peer = tmp_path / "left.sqlite3", ec.generate_private_key(ec.SECP256R1()).public_key()
    point = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    kinds = {
        "ec": (templates.ecdsa_p256(), ECDSA, HASH),
        "ec 384": (templates.ecdsa_p384(), Algorithm.ecdsa(Hash.SHA_384), sha384(b"before and after").digest()),
        "rsa": (templates.rsa_signing(), RSA, HASH),
        "pss": (templates.rsa_pss(), Algorithm.rsa_pss(Hash.SHA_256), HASH),
    }
    crypts = {
        "oaep": (templates.rsa_oaep(), OAEP),
        "v1.5": (templates.rsa_pkcs1v15_crypt(), Algorithm.RSA_PKCS1V15_CRYPT),
    }
    names = {*kinds, *crypts, "public"}
    with running_swtpm(tmp_path / "tpm") as swtpm:
        table = TPM.format("store", swtpm.tcti)
        with UpstreamService(providers=table) as upstream:
            with Client(f"unix:{upstream.socket_path}", provider=3) as client:
                for name, (attributes, *_) in (kinds | crypts).items():
                    client.generate_key(name, attributes)
                client.import_key("public", VERIFYING, point)
                public = {name: client.export_public_key(name) for name in names}
                signature = client.sign_hash("ec", ECDSA, HASH)
                sealed = {
                    name: client.asymmetric_encrypt(name, alg, b"told before") for name, (_, alg) in crypts.items()
                }
            shutil.copy(upstream.folder / "store.sqlite3", left)
        with running_service(provider=TPM.format("kim", swtpm.tcti), start=False) as service:
            service.store_path.parent.mkdir()
            shutil.copy(left, service.store_path.parent / "kim.sqlite3")
            planned = migrate(service, tmp_path)
            assert {key["key_name"] for key in planned["keys"]} == names
            assert not any(key.get("problem") for key in planned["keys"])
            migrate(service, tmp_path, "--apply")
            assert (service.store_path.parent / "kim.sqlite3").read_bytes() == left.read_bytes()
            service.start()
            for again in (False, True):
                with service.client(provider=3) as client:
                    assert {key.name for key in client.list_keys()} == names
                    assert {name: client.export_public_key(name) for name in names} == public
                    client.verify_hash("ec", ECDSA, HASH, signature)
                    for name, (_, algorithm, digest) in kinds.items():
                        client.verify_hash(name, algorithm, digest, client.sign_hash(name, algorithm, digest))
                    for name, (_, algorithm) in crypts.items():
                        assert client.asymmetric_decrypt(name, algorithm, sealed[name]) == b"told before"
                    if not again:
                        client.generate_key("new", templates.ecdsa_p256())
                        client.sign_hash("new", ECDSA, HASH)
                        client.destroy_key("new")
                        swtpm.restart()
            with service.client(provider=3) as client:
                client.destroy_key("rsa")
                with pytest.raises(DoesNotExistError):
                    client.sign_hash("rsa", RSA, HASH)


def test_keys_of_a_tpm_that_was_cleared_are_told_and_left(peers_root: PeersRoot, tmp_path: Path) -> None:
    del peers_root
    left = tmp_path / "left.sqlite3"
    with (
        running_swtpm(tmp_path / "tpm") as swtpm,
        UpstreamService(providers=TPM.format("store", swtpm.tcti)) as upstream,
    ):
        with Client(f"unix:{upstream.socket_path}", provider=3) as client:
            client.generate_key("ec", templates.ecdsa_p256())
        shutil.copy(upstream.folder / "store.sqlite3", left)
    with (
        running_swtpm(tmp_path / "another") as swtpm,
        running_service(provider=TPM.format("kim", swtpm.tcti), start=False) as service,
    ):
        service.store_path.parent.mkdir()
        shutil.copy(left, service.store_path.parent / "kim.sqlite3")
        [key] = migrate(service, tmp_path, code=1)["keys"]
        assert "this TPM did not make the key" in key["problem"]
        migrate(service, tmp_path, "--apply", code=1)
        assert not service.store_path.exists()


def test_keys_in_the_secure_world_stay_there_and_work_on(left: Path) -> None:
    """The genuine record of a software key, whose owner has the key in the emulated secure world instead.

    Upstream's provider does not reach the emulation; on a device it writes just such records.
    """
    with (
        running_world() as world,
        running_service(provider=with_world(world), start=False) as service,
    ):
        attributes = templates.ecdsa_p256()
        with world.transport() as transport, PsaClient(transport) as psa:
            psa.psa_crypto_init()
            wanted = PsaKeyAttributes(attributes.key_type, 256, attributes.usage, attributes.algorithm)
            wanted.psa_set_key_id(0x123456)
            psa.psa_generate_key(wanted)
            public = psa.psa_export_public_key(0x123456)
        store = service.store_path.parent / "kim.sqlite3"
        store.parent.mkdir()
        shutil.copy(left / "store.sqlite3", store)
        provider = ("71129441-508a-4da6-b6e8-7b98a777e4c0", "trusted-service-provider")
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("DELETE FROM key_mapping WHERE application_name <> '0' OR key_name <> 'ec'")
            connection.execute("UPDATE key_mapping SET provider_uuid = ?, provider_name = ?", provider)
            connection.execute("UPDATE key_mapping SET key_id = ?", (pack("<I", 0x123456),))
            connection.execute(
                "INSERT INTO key_mapping SELECT authenticator_id, application_name, 'lost', provider_uuid,"
                " provider_name, ?, key_id_version, key_attributes, key_attributes_version FROM key_mapping",
                (pack("<I", 0x654321),),
            )
        problems = {key["key_name"]: key.get("problem") for key in migrate(service, left, code=1)["keys"]}
        assert problems == {"ec": None, "lost": "the back end has no such key"}
        migrate(service, left, "--apply", "--leave-failed", code=1)
        service.start()
        with service.client(provider=4) as client:
            assert client.export_public_key("ec") == public
            client.verify_hash("ec", ECDSA, HASH, client.sign_hash("ec", ECDSA, HASH))
            client.destroy_key("ec")
            assert not client.list_keys()


def test_keys_in_a_secure_element_stay_there_and_work_on(left: Path, tmp_path: Path) -> None:
    """The genuine record of a software key, whose owner has the key in slot 9 of an emulated element instead.

    Upstream's provider cannot be attached to the emulation; on a device it writes just such records, with the slot.
    """
    private, part = curve.new_key(), roomy(Model.ATECC608A, tmp_path / "atecc608a")
    part.zones.write_slot(9, 4, private)  # behind four bytes, as a part has it
    public = b"\x04" + curve.public_of(private)
    with running_service(provider=IN_ELEMENT, start=False) as service:
        element = ElementService(service, tmp_path / "atecc608a")
        store = service.store_path.parent / "kim.sqlite3"
        store.parent.mkdir()
        shutil.copy(left / "store.sqlite3", store)
        provider = ("b8ba81e2-e9f7-4bdd-b096-a29d0019960c", "cryptoauthlib-provider")
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("DELETE FROM key_mapping WHERE application_name <> '0' OR key_name <> 'ec'")
            connection.execute("UPDATE key_mapping SET provider_uuid = ?, provider_name = ?", provider)
            connection.execute("UPDATE key_mapping SET key_id = ?", (b"\x09",))
            connection.execute(
                "INSERT INTO key_mapping SELECT authenticator_id, application_name, 'lost', provider_uuid,"
                " provider_name, ?, key_id_version, key_attributes, key_attributes_version FROM key_mapping",
                (b"\x0a",),
            )
        before, of_part = contents(store.parent), (tmp_path / "atecc608a").read_bytes()
        launcher = element.launcher
        problems = {
            key["key_name"]: key["problem"] for key in migrate(service, left, code=1, launcher=launcher)["keys"]
        }
        assert problems == {"ec": None, "lost": "slot 10 of the element has no such key (any more)"}
        assert contents(store.parent) == before
        migrate(service, left, "--apply", "--leave-failed", code=1, launcher=launcher)
        assert store.read_bytes() == before[store]
        assert (tmp_path / "atecc608a").read_bytes() == of_part
        element.start()
        with service.client(provider=5) as client:
            assert [key.name for key in client.list_keys()] == ["ec"]
            assert client.export_public_key("ec") == public
            client.verify_hash("ec", ECDSA, HASH, client.sign_hash("ec", ECDSA, HASH))
            for number in range(13):
                client.generate_key(f"new {number}", templates.ecdsa_p256())
            assert client.export_public_key("ec") == public
            client.destroy_key("ec")
        assert part.zones.read_slot(9)[4:36] != private
