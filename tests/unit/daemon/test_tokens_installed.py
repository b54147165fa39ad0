"""What judges tokens is an extra: who asks for it without having it is told so before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeroot.cli.doctor import Finding, Subject
from edgeroot.cli.settings import Settings
from edgeroot.daemon import assembly, doctor
from edgeroot.daemon.config import load_config

CONFIG = """
[listener]
listener_type = "DomainSocket"
timeout = 200
socket_path = "{folder}/parsec.sock"
[authenticator]
auth_type = "JwtSvid"
workload_endpoint = "unix:///agent.sock"
[[key_manager]]
name = "keys"
manager_type = "SQLite"
sqlite_db_path = "{folder}/keys.sqlite3"
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "keys"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def findings_about_tokens(path: Path) -> list[Finding]:
    return [one for one in doctor.checks(Subject(Settings(), make_keys=False, config=path)) if one.check == "tokens"]


def test_with_it_there_is_nothing_to_say(path: Path) -> None:
    assert assembly.can_judge_tokens()
    assert findings_about_tokens(path) == []


def test_without_it_doctor_and_start_say_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_TOKENS_TAKE", ("jwt", "there_is_no_such_module"))
    (finding,) = findings_about_tokens(path)
    assert (finding.level, finding.fix) == ("failure", "pip install 'edgeroot[k8s]'")
    types = assembly.provider_types()
    with pytest.raises(assembly.StartError, match=r"edgeroot\[k8s\]"):
        assembly.assemble(load_config(path, types), types, lambda _path, _batch: [])


def test_it_is_not_loaded_before_the_identity_process_needs_it() -> None:
    script = "import sys, edgeroot.daemon.supervisor; print({'grpc', 'jwt', 'spiffe'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_the_folder_for_the_clusters_keys_is_made(path: Path) -> None:
    keys = path.parent / "issuer" / "of" / "tokens" / "keys.json"
    cluster = f'[authenticator.kubernetes]\nissuer = "i"\nreview = "offline"\njwks_file = "{keys}"\n'
    path.write_text(path.read_text().replace("[[key_manager]]", f"{cluster}[[key_manager]]"))
    types = assembly.provider_types()
    assembly.assemble(load_config(path, types), types, lambda _path, _batch: [])
    assert keys.parent.is_dir()
    keys.parent.rmdir()
    keys.parent.write_text("")
    with pytest.raises(assembly.StartError, match="jwks_file"):
        assembly.assemble(load_config(path, types), types, lambda _path, _batch: [])
