from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.ports import Revoked, Session, SessionStatus
from edgeroot.verifier.store import SqliteStorage, open_store
from tests.unit.verifier.test_corim import BOOT, DEVICE, IMPLEMENTATION, INSTANCE, KNOWN, REST

SESSION = Session(session_id="a" * 32, nonce=b"\1" * 32, expires_at_s=100)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with open_store(tmp_path / "fleet.db", create=True) as one:
        yield one


def test_endorsements(storage: SqliteStorage) -> None:
    assert storage.key_of(INSTANCE) is None
    assert storage.components_of(IMPLEMENTATION) is None
    for _ in range(2):
        with storage.transaction():
            storage.add_endorsements(KNOWN)
    assert storage.key_of(INSTANCE) == DEVICE
    assert storage.components_of(IMPLEMENTATION) == {BOOT, REST}


def test_a_device_keeps_the_key_it_was_endorsed_with(storage: SqliteStorage) -> None:
    with storage.transaction():
        storage.add_endorsements(KNOWN)
    other = VerificationKey(
        implementation_id=IMPLEMENTATION, instance_id=INSTANCE, key=ec.generate_private_key(ec.SECP256R1()).public_key()
    )
    new = ReferenceValue(measurement=b"\x0a" * 32, signer_id=b"\x0b" * 32)
    both = Endorsements(keys={INSTANCE: other}, references={IMPLEMENTATION: {new}})
    with pytest.raises(VerifierError, match="endorsed already"), storage.transaction():
        storage.add_endorsements(both)
    assert storage.key_of(INSTANCE) == DEVICE
    assert storage.components_of(IMPLEMENTATION) == {BOOT, REST}, "the transaction was not undone as a whole"


def test_sessions_and_nonces(storage: SqliteStorage) -> None:
    assert storage.add_session(SESSION, remember_until_s=200)
    assert storage.session(SESSION.session_id) == SESSION
    again = Session(session_id="b" * 32, nonce=SESSION.nonce, expires_at_s=100)
    assert not storage.add_session(again, remember_until_s=200)
    assert storage.session("b" * 32) is None
    assert storage.open_sessions() == 1
    storage.forget_expired(100)
    assert storage.open_sessions() == 0
    storage.remove_session(SESSION.session_id)
    assert storage.open_sessions() == 0
    assert not storage.add_session(again, remember_until_s=200), "a nonce is remembered longer than its session"
    storage.forget_expired(200)
    assert storage.add_session(again, remember_until_s=200)
    storage.complete_session(replace(again, status=SessionStatus.COMPLETE, evidence=b"token", result="result"))
    assert storage.session("b" * 32) == replace(
        again, status=SessionStatus.COMPLETE, evidence=b"token", result="result"
    )
    assert storage.open_sessions() == 1
    storage.remove_session("b" * 32)
    assert storage.open_sessions() == 0


def test_revocations(storage: SqliteStorage) -> None:
    assert storage.device_revoked(INSTANCE) is storage.component_revoked(BOOT) is None
    storage.revoke(Revoked.DEVICE, INSTANCE.hex(), "stolen", at_s=1)
    storage.revoke(Revoked.VERSION, "BL=1.2.3", "a hole", at_s=1)
    storage.revoke(Revoked.MEASUREMENT, REST.measurement.hex(), "another", at_s=1)
    assert storage.device_revoked(INSTANCE) == "stolen"
    assert storage.component_revoked(BOOT) == "a hole"
    assert storage.component_revoked(REST) == "another"


def test_a_changed_audit_log_is_found(tmp_path: Path, storage: SqliteStorage) -> None:
    for number in range(3):
        storage.log({"event": "endorsed", "number": number})
    count, last = storage.check_audit()
    assert count == 3
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        other.execute("UPDATE audit SET line = replace(line, '1', '7') WHERE number = 2")
    with pytest.raises(VerifierError, match="broken: line 2"):
        storage.check_audit()
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        other.execute("DELETE FROM audit WHERE number >= 2")
    assert storage.check_audit()[0] == 1
    with pytest.raises(VerifierError, match="cut off"):
        storage.check_audit(noted=last)


def test_files_that_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(VerifierError, match="there is no verifier's store"), open_store(tmp_path / "none"):
        pass
    text = tmp_path / "text"
    text.write_bytes(b"something else" * 100)
    with pytest.raises(VerifierError, match="fails"), open_store(text, create=True):
        pass
    assert text.read_bytes() == b"something else" * 100
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(VerifierError, match="is no verifier's store"), open_store(foreign, create=True):
        pass
    newer = tmp_path / "newer"
    with open_store(newer, create=True):
        pass
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(VerifierError, match="version 99"), open_store(newer):
        pass


WRITER = """
import sys
from pathlib import Path
from edgeroot.verifier.store import open_store
with open_store(Path(sys.argv[1]), create=True) as storage:
    for number in range(1_000_000):
        with storage.transaction():
            storage.add_result(b"device", at_s=number, status=2, claims={})
            storage.log({"number": number})
        print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    acknowledged = -1
    for stop_at in (1, 17, 40):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for count, line in enumerate(writer.stdout):
                acknowledged = int(line)
                if count == stop_at:
                    os.kill(writer.pid, signal.SIGKILL)
                    break
        with open_store(path) as storage:
            results = storage.results(b"device")
            count, _last = storage.check_audit()
            assert len(results) == count, "a result without its line, or the other way round"
            assert (acknowledged, 2) in results
