"""`make demo`: from nothing to a running service, and a short story with it.

Each step prints a command and what the command really prints, and holds it to what the story says: the exit code is 1
if anything turns out otherwise. The service has a socket and a folder of its own in a temporary folder; whatever
happens, it is stopped and the folder is removed. Started by root, the service and the two workloads are three users
without rights; otherwise all is done by one user, and the step that needs a second one is left out.
"""

from __future__ import annotations

import inspect
import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

# A workload's process becomes a user who may not be able to read the interpreter's files: all that it uses is loaded
# while it still can.
import edgeroot.client.commands.encryption
import edgeroot.client.commands.signatures
import edgeroot.client.commands.transfer
import edgeroot.client.keys
import edgeroot.client.transports.unix
import edgeroot.wire.codec  # noqa: F401
from edgeroot.cli.frame import Root
from edgeroot.cli.frame import root as command_line
from edgeroot.client import Client
from edgeroot.client.keys import EcServiceKey

EDGEROOT: Final = Path(sys.executable).with_name("edgeroot")
READY: Final = "Parsec is ready."
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
STEP_S: Final = 0.01
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SERVICE_PROCESSES: Final = ("parsec", "edgeroot-worker", "edgeroot-writer", "edgeroot-helper")
_STORE: Final = """
import sys
from pathlib import Path
from edgeroot.secure.partitions.crypto.record import decode_record
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.platform.counters import FileCounter
from edgeroot.secure.platform.device_secret import FileDeviceSecret
world = Path(sys.argv[1])
class Reading:
    exists = True
    def __init__(self): self.data = (world / "partitions/storage/log").read_bytes(); self.size_bytes = len(self.data)
    def read(self, offset, size_bytes): return self.data[offset : offset + size_bytes]
class Still:
    def read(self): return FileCounter(world / "counters/storage/storage", create=False).read()
    def advance_to(self, value): pass
secret = FileDeviceSecret.open(world / "device-secret").derive(b"partition storage")
objects = ObjectLog(Reading(), Still(), secret)
slot, place = max(objects._places.items(), key=lambda one: one[1].head.sequence)
"""
UNSEAL: Final = _STORE + "print(decode_record(objects.read(slot)).material.hex())"
SPOIL: Final = (
    _STORE
    + """
with (world / "partitions/storage/log").open("r+b") as file:
    file.seek(place.offset + 100)
    byte = file.read(1)
    file.seek(place.offset + 100)
    file.write(bytes((byte[0] ^ 1,)))
"""
)
NOBODYS_UIDS: Final = range(60200, 61184)  # below those that `edgeroot up` chooses from


class UnexpectedError(Exception):
    """Something is not as the story says."""


def make_request() -> None:
    """What the workload does in Python; the demo shows these lines and runs them."""
    with Client() as client:
        key = client.private_key("device")  # a private key of the package cryptography, but it stays in the service
        assert isinstance(key, EcServiceKey)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway-17")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        Path("gateway.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))


class User:
    """Somebody who runs programs: a name for the story, a user id if there is more than one, a folder."""

    def __init__(self, name: str, uid: int | None, folder: Path) -> None:
        self.name = name
        self.uid = uid
        self.folder = folder
        folder.mkdir(mode=0o700)
        if uid is not None:
            os.chown(folder, uid, uid)

    def __call__(self, command: str, *, fails: bool = False, says: str = "") -> str:
        """Show and run a command line; what it prints. UnexpectedError if it ends or speaks otherwise."""
        print(f"\n  {self.name}$ {command}")
        program, *arguments = shlex.split(command)
        if program == "edgeroot":
            root: Root = command_line()
            return self.do(lambda: root.main(arguments, prog_name="edgeroot"), fails=fails, says=says)
        return self.do(lambda: os.execvp(program, [program, *arguments]), fails=fails, says=says)

    def do(self, work: Callable[[], object], *, fails: bool = False, says: str = "") -> str:
        """Do this in a process of this user, and show what it prints."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._be_the_user(writing, work)
        os.close(writing)
        try:
            with os.fdopen(reading, "rb") as pipe:
                output = pipe.read().decode(errors="replace")
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if output:
            print(textwrap.indent(output.rstrip(), "  "))
        if (code != 0) != fails:
            raise UnexpectedError(f"this ended with code {code}")
        if says not in output:
            raise UnexpectedError(f"this did not say {says!r}")
        return output

    def _be_the_user(self, writing: int, work: Callable[[], object]) -> NoReturn:
        code = 1
        try:
            for number in ENDING:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            os.chdir(self.folder)
            if self.uid is not None:
                os.setgroups([])
                os.setresgid(self.uid, self.uid, self.uid)
                os.setresuid(self.uid, self.uid, self.uid)
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as error:  # noqa: BLE001 - this process ends here, and says why
            print(f"{type(error).__name__}: {error}")
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


class Service:
    """The service of the story, with everything it keeps below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "run" / "parsec.sock"
        self.state = folder / "state"
        self.world = folder / "state-secure-world"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["edgeroot", "up", "--socket", str(self.socket), "--state", str(self.state)]
        print(f"\n  operator$ {shlex.join(command)} &")
        with self._log.open("ab") as log, deferred_signals():
            begun = log.tell()
            self._process = subprocess.Popen(
                [EDGEROOT, *command[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while READY not in (said := self._log.read_text()[begun:]):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise UnexpectedError(f"the service did not start, and said:\n{said}\n")
            time.sleep(STEP_S)
        print(textwrap.indent(said.rstrip(), "  "))

    def world_status(self) -> dict[str, Any]:
        """What the partition manager says of the secure world."""
        socket_path = str(self.world / "run" / "spm.sock")
        command = [str(EDGEROOT), "secure-world", "status", "--json", "--world-socket", socket_path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnexpectedError(f"the secure world does not answer: {done.stderr}")
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def kill_partition(self, name: str) -> None:
        """End a partition as a crash would, and wait until another one has taken its place."""
        before = next(one for one in self.world_status()["partitions"] if one["name"] == name)
        print(f"\n  operator$ kill -9 {before['pid']}    # the partition {name}, sandbox and all")
        os.kill(before["pid"], signal.SIGKILL)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            now = next(one for one in self.world_status()["partitions"] if one["name"] == name)
            if now["state"] == "ready" and now["pid"] != before["pid"]:
                print(f"  {name} is back as process {now['pid']}, restarted {now['restarts']} time(s)")
                return
            if time.monotonic() > deadline_s:
                raise UnexpectedError(f"the partition {name} did not come back")
            time.sleep(STEP_S)

    def find_in_memory(self, secret: bytes) -> int:
        """How often these bytes, in either order, are in the memory and the files of the service's processes."""
        wanted = (secret, secret[::-1])
        found = 0
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                name = (entry / "comm").read_text().strip()
                if name in SERVICE_PROCESSES and os.getpgid(int(entry.name)) == self._running().pid:
                    found += sum(_memory_of(entry).count(one) for one in wanted)
        for path in self.state.rglob("*"):
            if path.is_file():
                found += sum(path.read_bytes().count(one) for one in wanted)
        return found

    def show_log(self, containing: str) -> str:
        """Show these lines of the log."""
        shown = "".join(line for line in self._log.read_text().splitlines(keepends=True) if containing in line)
        print("\n" + textwrap.indent(shown.rstrip(), "  "))
        return shown

    def kill(self) -> None:
        """End all of its processes at once, as a loss of power would."""
        process = self._running()
        print(f"\n  operator$ kill -9 -{process.pid}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)
        self._wait_for_the_end()

    def stop(self) -> None:
        """Ask it to end."""
        process = self._running()
        print(f"\n  operator$ kill {process.pid}")
        process.terminate()
        if process.wait(STOP_TIMEOUT_S) != 0:
            raise UnexpectedError("the service did not end well")
        self._wait_for_the_end()

    def clean_up(self) -> None:
        """Leave nothing running, however far the story came."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._wait_for_the_end()

    def processes(self) -> list[str]:
        """The names of its processes that are still there."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                name, rest = entry.read_text().split("(", 1)[1].rsplit(")", 1)
                state, _parent, group = rest.split()[:3]
                if int(group) == self._running().pid and state != "Z":
                    found.append(name)
        return found

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise UnexpectedError("the service was not started")
        return self._process

    def _wait_for_the_end(self) -> None:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while self.processes():
            if time.monotonic() > deadline_s:
                raise UnexpectedError(f"still running: {self.processes()}")
            time.sleep(STEP_S)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """A signal that is to end the demo does so at the end of the block: what is begun in it is known by then."""
    came: list[int] = []
    handlers = [(number, signal.signal(number, lambda number, _frame: came.append(number))) for number in ENDING]
    try:
        yield
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)


def say(text: str) -> None:
    """A paragraph of the story."""
    print("\n" + textwrap.fill(" ".join(text.split()), 100))


def users(folder: Path) -> tuple[User, User | None]:
    """The workload, and a stranger if there can be one."""
    if os.geteuid() != 0:
        return User("workload", None, folder / "workload"), None
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    free = [uid for uid in NOBODYS_UIDS if uid not in taken]
    return User("workload", free[0], folder / "workload"), User("stranger", free[1], folder / "stranger")


def _memory_of(process: Path) -> bytes:
    """Everything that the process could write to, as far as it can be read."""
    parts = []
    with (process / "mem").open("rb", buffering=0) as memory:
        for line in (process / "maps").read_text().splitlines():
            addresses, rights, *_ = line.split()
            begin, end = (int(one, 16) for one in addresses.split("-"))
            if rights.startswith("rw"):
                with suppress(OSError, ValueError):
                    memory.seek(begin)
                    parts.append(memory.read(end - begin))
    return b"".join(parts)


def key_in_partition(world: Path) -> bytes:
    """The newest key of the secure world: with the device secret in hand, which only root can read."""
    done = subprocess.run([sys.executable, "-c", UNSEAL, str(world)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnexpectedError(f"the stored key could not be unsealed: {done.stderr}")
    return bytes.fromhex(done.stdout)


def isolation(workload: User, service: Service) -> None:
    """What the secure world is for: only root can try this."""
    say(
        """4. Where is the key? Somebody who has taken over the service would look through its memory and its files.
        With the device secret, which only root can read, we unseal the key and search for its bytes as they would:
        first a key of the software provider, then one of the secure world."""
    )
    workload("edgeroot -p 1 create-ecc-key -k soft --exportable", says="created")
    workload("edgeroot -p 1 export-key -k soft --format raw -o soft.key")
    soft = (workload.folder / "soft.key").read_bytes()
    workload("edgeroot -p 1 sign -k soft hello")
    workload("edgeroot create-ecc-key -k hard", says="created")
    hard = key_in_partition(service.world)
    workload("edgeroot sign -k hard hello")
    found_soft, found_hard = service.find_in_memory(soft), service.find_in_memory(hard)
    print(f"\n  key of the software provider: found {found_soft} times in the service")
    print(f"  key of the secure world:      found {found_hard} times in the service")
    if not found_soft or found_hard:
        raise UnexpectedError("that is not where the keys should be")
    say("A partition that is killed comes back at once, and nothing that it has stored is lost.")
    service.kill_partition("crypto")
    workload("edgeroot sign -k hard hello")
    say("A stored object that somebody changes on the disk is noticed, and takes no other one down.")
    log = service.world / "partitions" / "storage" / "log"
    spoil = subprocess.run(
        [sys.executable, "-c", SPOIL, str(service.world)], capture_output=True, text=True, check=False
    )
    print(f"\n  operator$ # one bit of the stored key hard changes in {log}")
    if spoil.returncode != 0:
        raise UnexpectedError(f"the stored key could not be changed: {spoil.stderr}")
    service.kill_partition("crypto")  # which had the key in memory
    workload("edgeroot sign -k hard hello", fails=True, says="PsaErrorDataCorrupt")
    workload("edgeroot sign -k device hello")


def story(folder: Path, service: Service) -> None:
    """All steps; UnexpectedError at the first that ends otherwise than told."""
    workload, stranger = users(folder)

    say(
        """1. The service, and beside it an emulated secure world that keeps the keys. Nothing needs to be configured:
        one socket, users told apart by the kernel."""
    )
    service.start()
    if os.geteuid() == 0:
        uid = service.state.stat().st_uid
        print(f"\n  Started by root, it has given up root and become user {uid}.")
    os.environ["PARSEC_SERVICE_ENDPOINT"] = f"unix:{service.socket}"

    say("2. A workload has the service make a key and sign with it. The key itself never leaves the service.")
    (workload.folder / "reading.json").write_text('{"sensor": 17, "celsius": 21.5}\n')
    workload("edgeroot create-ecc-key -k device", says="created")
    workload("edgeroot sign -k device --file reading.json -o reading.sig")
    workload("edgeroot export-public-key -k device -o device.pem")
    check = "openssl dgst -sha256 -verify device.pem -signature {} reading.json"
    workload(check.format("reading.sig"), says="Verified OK")
    workload("edgeroot export-key -k device", fails=True, says="PsaErrorNotPermitted")

    if stranger is None:
        say("3. (Another user would be refused here. To show it, this demo needs root, who can be several users.)")
    else:
        say(
            """3. Another user asks for the same key, looks for it where it is stored, and asks for a secret that the
            first one has in protected storage. To them neither exists."""
        )
        stranger("edgeroot sign -k device 'pay 1000 to me'", fails=True, says="PsaErrorDoesNotExist")
        stranger("edgeroot delete-key -k device", fails=True, says="PsaErrorDoesNotExist")
        (workload.folder / "wifi.psk").write_text("correct horse battery staple\n")
        workload("edgeroot storage set wifi -f wifi.psk", says="stored")
        workload("edgeroot storage info wifi", says="29 bytes")
        stranger("edgeroot storage get wifi -o stolen", fails=True, says="PsaErrorDoesNotExist")
        if "device" in stranger("edgeroot list-keys"):
            raise UnexpectedError("a stranger sees the key")
        key_file = service.state / "keys.sqlite3.edgeroot.key"
        stranger(f"cat {key_file}", fails=True, says="Permission denied")

    if stranger is None:
        say("4. (Here the story would look for keys in the service's memory, which takes root.)")
    else:
        isolation(workload, service)

    say("5. In Python the key is a private key of the package cryptography. Here it signs a certificate request.")
    _, _, lines = inspect.getsource(make_request).split('"""')
    print(f"\n{lines.strip(chr(10))}")
    workload.do(make_request)
    workload("openssl req -in gateway.csr -verify -noout -subject", says="gateway-17")

    say("6. A file is encrypted with a key in the service, and any change to it is noticed.")
    workload("edgeroot create-aes-key -k files", says="created")
    workload("edgeroot encrypt-file -k files reading.json -o reading.sealed")
    workload("edgeroot decrypt-file reading.sealed", says='{"sensor": 17, "celsius": 21.5}')
    sealed = bytearray((workload.folder / "reading.sealed").read_bytes())
    if b"celsius" in sealed:
        raise UnexpectedError("the file is not encrypted")
    sealed[-1] ^= 1
    (workload.folder / "changed.sealed").write_bytes(sealed)
    workload("edgeroot decrypt-file changed.sealed", fails=True)

    say(
        "7. All of the service's processes are killed at once, and it is started anew. All acknowledged keys are there."
    )
    service.kill()
    service.start()
    workload("edgeroot list-keys", says="device")
    workload("edgeroot sign -k device --file reading.json -o again.sig")
    workload(check.format("again.sig"), says="Verified OK")

    say("8. Who did what to which key is in the service's log. Then it ends, and everything is removed.")
    audited = service.show_log(containing="key=device")
    if audited.count("opcode=PsaSignHash") < 3:  # two files and the request
        raise UnexpectedError("the uses of the key were not all audited")
    service.stop()


def main() -> int:
    """Tell the story; the exit code."""
    for number in ENDING:
        signal.signal(number, _interrupt)
    if shutil.which("openssl") is None:
        print("error: openssl is needed and not there (the Debian package is called openssl)", file=sys.stderr)
        return 1
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # it is a text file
    begun_s = time.monotonic()
    os.umask(0o022)  # the users of the story have to get at the socket
    folder = Path(tempfile.mkdtemp(prefix="edgeroot-demo-"))
    service = Service(folder)
    try:
        folder.chmod(0o755)
        story(folder, service)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except UnexpectedError as error:
        print(f"\nerror: {error}; that is not how the story goes, please report it", file=sys.stderr)
        return 1
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        service.clean_up()
        shutil.rmtree(folder)
    say(f"Nothing is left running. That took {time.monotonic() - begun_s:.0f} seconds; README.md says how to go on.")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
