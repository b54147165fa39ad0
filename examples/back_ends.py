"""One workload, unmodified, over every back end in turn: software, the emulated secure world, a TPM, a PKCS#11 token.

What changes is the service's configuration. The TPM is swtpm and the token SoftHSM, both genuine programs in software;
where one is not installed, that is said, and the others are shown.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.client import Client, templates
from edgeroot.client.errors import NotPermittedError, NotSupportedError

SIGNATURES: Final = 50
START_TIMEOUT_S: Final = 30.0
STEP_S: Final = 0.02
EDGEROOT: Final = Path(sys.executable).with_name("edgeroot")
SOFTHSM: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN: Final = "123456"
CONFIG: Final = """\
[core_settings]
allow_root = true
log_level = "warn"
audit = false
[listener]
listener_type = "DomainSocket"
timeout = 2000
socket_path = "{folder}/parsec.sock"
[authenticator]
auth_type = "UnixPeerCredentials"
[[key_manager]]
name = "keys"
manager_type = "SQLite"
sqlite_db_path = "{folder}/keys.sqlite3"
[[provider]]
key_info_manager = "keys"
"""
KEY_FILES: Final = {
    "Software": "the key store, encrypted",
    "Trusted Services": "a partition of its own",
    "TPM": "the TPM (swtpm)",
    "PKCS#11": "the token (SoftHSM)",
}


def workload() -> tuple[str, int]:
    """What a program does with its key, wherever that is: who kept the key, and microseconds a signature."""
    with Client() as client:
        client.generate_key("identity", templates.ecdsa_p256())
        key = client.private_key("identity")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signature = key.sign(b"a reading", ec.ECDSA(hashes.SHA256()))
        began_s = time.perf_counter()
        for number in range(SIGNATURES):
            key.sign(b"reading %d" % number, ec.ECDSA(hashes.SHA256()))
        took_us = round((time.perf_counter() - began_s) / SIGNATURES * 1e6)
        key.public_key().verify(signature, b"a reading", ec.ECDSA(hashes.SHA256()))
        try:
            key.public_key().verify(signature, b"another reading", ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            pass
        else:
            raise RuntimeError("a signature fits another message")
        try:
            client.export_key("identity")
        except (NotPermittedError, NotSupportedError):  # a TPM cannot export at all
            pass
        else:
            raise RuntimeError("the key could be taken out")
        provider = client.list_providers()[0].name
        client.destroy_key("identity")
    return provider, took_us


@dataclass(frozen=True, slots=True)
class BackEnd:
    """A back end: how it is started and what the configuration says of it; None if it is not installed here."""

    name: str
    missing: str | None
    start: Callable[[Path, ExitStack], tuple[str, dict[str, str]]]


def software(_folder: Path, _running: ExitStack) -> tuple[str, dict[str, str]]:
    return 'provider_type = "MbedCrypto"\n', {}


def trusted_services(folder: Path, running: ExitStack) -> tuple[str, dict[str, str]]:
    command = [str(EDGEROOT), "secure-world", "run", "--state", str(folder / "world"), "--runtime", str(folder / "run")]
    running.enter_context(process([*command, "--allow", str(os.geteuid())], folder))
    wait_for(lambda: world_answers(folder / "run" / "spm.sock"), "the secure world")
    return f'provider_type = "TrustedService"\nsocket_path = "{folder}/run/spm.sock"\n', {}


def world_answers(socket_path: Path) -> bool:
    command = [str(EDGEROOT), "secure-world", "status", "--json", "--world-socket", str(socket_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.count('"state": "ready"') == done.stdout.count('"state": ')


def tpm(folder: Path, running: ExitStack) -> tuple[str, dict[str, str]]:
    port = two_free_ports()
    (folder / "tpm").mkdir()
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / 'tpm'}"]
    command += ["--flags", "not-need-init,startup-clear"]
    command += ["--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}"]
    running.enter_context(process(command, folder))
    wait_for(lambda: listens(port + 1), "swtpm")
    return f'provider_type = "Tpm"\ntcti = "swtpm:host=127.0.0.1,port={port}"\n', {}


def pkcs11(folder: Path, _running: ExitStack) -> tuple[str, dict[str, str]]:
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
    command = ["softhsm2-util", "--init-token", "--free", "--label", "demo", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)
    table = f'provider_type = "Pkcs11"\nlibrary_path = "{SOFTHSM}"\ntoken_label = "demo"\nuser_pin = "{PIN}"\n'
    return table, environment


def back_ends() -> tuple[BackEnd, ...]:
    no_world = None if shutil.which("bwrap") else "bubblewrap is not installed"
    no_tpm = None if shutil.which("swtpm") else "swtpm is not installed"
    no_token = None if SOFTHSM.exists() else "SoftHSM is not installed"
    return (
        BackEnd("Software", None, software),
        BackEnd("Trusted Services", no_world, trusted_services),
        BackEnd("TPM", no_tpm, tpm),
        BackEnd("PKCS#11", no_token, pkcs11),
    )


@contextmanager
def process(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A program in the background, which ends with the block."""
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def wait_for(holds: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while not holds():
        if time.monotonic() > until_s:
            raise RuntimeError(f"{what} did not start")
        time.sleep(STEP_S)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def two_free_ports() -> int:
    """A port that is free, as is the one above it, which the TPM's control channel has."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def answers() -> bool:
    try:
        with Client(timeout_s=2.0) as client:
            client.ping()
    except Exception:  # noqa: BLE001 - whatever it is, it does not answer yet
        return False
    return True


def show(back_end: BackEnd, folder: Path) -> tuple[str, ...]:
    """Run the workload over this back end; a row of the table."""
    folder.mkdir()
    with ExitStack() as running:
        table, environment = back_end.start(folder, running)
        (folder / "config.toml").write_text(CONFIG.format(folder=folder) + table)
        running.enter_context(process([str(EDGEROOT), "serve", "-c", str(folder / "config.toml")], folder, environment))
        os.environ["PARSEC_SERVICE_ENDPOINT"] = f"unix:{folder}/parsec.sock"
        wait_for(answers, "the service")
        provider, took_us = workload()
    return back_end.name, provider, KEY_FILES[back_end.name], "verified", "refused", f"{took_us:,} µs"


def main() -> int:
    print("\nOne workload, unmodified, over four back ends. Only the service's configuration changes.\n")
    columns = ("back end", "provider", "the key is in", "signature", "export", "one signature")
    rows: list[tuple[str, ...]] = [columns]
    missing = []
    with tempfile.TemporaryDirectory(prefix="edgeroot-back-ends-") as name:
        Path(name).chmod(0o755)  # the secure world's partitions are other users, who come through here
        for number, back_end in enumerate(back_ends()):
            if back_end.missing is not None:
                missing.append(f"  ({back_end.name} is left out: {back_end.missing}.)")
                continue
            rows.append(show(back_end, Path(name, str(number))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\n".join(missing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
