"""A device proves what it runs, an attacker changes it, and an update replaces it: the root of trust in a minute.

Every command is printed, run, and held to what the story says. Everything lies in a temporary folder that is removed.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgeroot.abi.mcuboot import Version, decode_image
from edgeroot.secure.boot.signing import SigningKey, sign_image

EDGEROOT: Final = Path(sys.executable).with_name("edgeroot")
TIMEOUT_S: Final = 60.0
STEP_S: Final = 0.02
WORDS_OF_THE_PARTITION: Final = b"The crypto partition: PSA Crypto for its callers"


class UnexpectedError(Exception):
    """Something is not as the story says."""


class Story:
    """Commands in a folder, shown with what they print."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder = folder
        self._running = running
        self._device: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "PATH": f"{EDGEROOT.parent}{os.pathsep}{os.environ['PATH']}",
            "NO_COLOR": "1",
        }
        self._environment["PARSEC_SERVICE_ENDPOINT"] = f"unix:{folder}/socket/parsec.sock"
        self._environment["EDGEROOT_SECURE_WORLD"] = f"{folder}/run/spm.sock"

    def tell(self, text: str) -> None:
        print("\n" + textwrap.fill(" ".join(text.split()), 100))

    def run(self, line: str, *, fails: bool = False, says: str = "", shown: Callable[[str], bool] = bool) -> str:
        """One command line; what it prints. Of that the lines are shown that ``shown`` chooses."""
        print(f"\n  $ {line}")
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        for text in filter(shown, done.stdout.splitlines()):
            print(f"    {text}")
        if (done.returncode != 0) != fails:
            raise UnexpectedError(f"this ended with code {done.returncode}:\n{done.stdout}")
        if says not in done.stdout:
            raise UnexpectedError(f"this did not say {says!r}:\n{done.stdout}")
        return done.stdout

    def boot(self) -> None:
        """Start the device: service and secure world."""
        line = "edgeroot up --socket socket/parsec.sock --state keys --world-state state --world-runtime run"
        print(f"\n  $ {line} &")
        log = (self.folder / "log").open("wb")
        self._device = subprocess.Popen(
            shlex.split(line), cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        self._running.callback(self._end, self._device)
        until_s = time.monotonic() + TIMEOUT_S
        while "Parsec is ready." not in (said := (self.folder / "log").read_text()):
            if self._device.poll() is not None or time.monotonic() > until_s:
                raise UnexpectedError(f"the device did not start, and said:\n{said}")
            time.sleep(STEP_S)
        self.run("edgeroot secure-world status", says="firmware: verified", shown=lambda text: "firmware:" in text)

    def shut_down(self) -> None:
        assert self._device is not None
        self._end(self._device)

    def in_background(self, line: str, ready: str) -> str:
        """Start something that says a line with ``ready`` in it; that line."""
        print(f"\n  $ {line} &")
        path = self.folder / "background"
        with path.open("wb") as log:
            process = subprocess.Popen(
                shlex.split(line),
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running.callback(self._end, process)
        until_s = time.monotonic() + TIMEOUT_S
        while ready not in (said := path.read_text()):
            if process.poll() is not None or time.monotonic() > until_s:
                raise UnexpectedError(f"it did not start, and said:\n{said}")
            time.sleep(STEP_S)
        line = next(text for text in said.splitlines() if ready in text)
        print(f"    {line}")
        return line

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def provisioned_and_attested(story: Story) -> tuple[str, str]:
    """The address of the verifier, which affirms the device, and the device's implementation id."""
    story.tell(
        """1. A maker signs firmware: the secure world's partition manager and its four partitions. A device is told the
        hash of his key, gets the firmware, and is secured: from now on it runs nothing else. Neither is ever undone."""
    )
    story.run(
        "openssl genpkey -algorithm ed25519 -out maker.pem && openssl pkey -in maker.pem -pubout -out maker.pub.pem"
    )
    story.run("edgeroot device build-images --key maker.pem --version 1.0.0 --security-counter 1 release-1.0.0")
    story.run(
        "edgeroot device provision --root-key maker.pub.pem --security-counter 1 --images release-1.0.0 --state state"
    )
    story.run("edgeroot device lifecycle secured --state state", says="life cycle: secured")
    story.boot()

    story.tell(
        """2. Once, where nobody is in between, a verifier takes down the device's attestation key and what it runs.
        From then on the device proves itself: it signs what its boot has measured, with the verifier's challenge."""
    )
    challenge = secrets.token_hex(32)
    story.run(f"edgeroot attestation-token --challenge {challenge} -o set-up.cbor")
    story.run("edgeroot secure-world attestation-key > device.pem")
    endorse = f"edgeroot --json verifier endorse set-up.cbor --challenge {challenge} --key device.pem -o device.corim"
    implementation_id = str(json.loads(story.run(endorse, shown=lambda text: "_hex" in text))["implementation_id_hex"])
    story.run("openssl ecparam -name prime256v1 -genkey -noout -out verifier.pem")
    (story.folder / "token").touch(0o600)
    (story.folder / "token").write_text(secrets.token_hex(32))
    said = story.in_background(
        "edgeroot verifier serve --store fleet.db --sign verifier.pem --port 0 --provisioning-token-file token",
        "listening on ",
    )
    url = said.rpartition(" ")[2]
    story.run(f"edgeroot verifier submit device.corim --url {url} --token-file token")
    story.run(f"edgeroot attestation-token --verifier {url} -o result.jwt", says="affirming")
    return url, implementation_id


def attacked(story: Story, url: str) -> None:
    """One changed byte, twice."""
    story.tell("3. An attacker has the disk, and changes one byte of the crypto partition. The device does not boot.")
    story.shut_down()
    flash = story.folder / "state" / "flash" / "flash"
    shutil.copy2(flash, story.folder / "flash.kept")
    owner = flash.stat()
    with flash.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(WORDS_OF_THE_PARTITION)
        content[at : at + 1] = b"t"
    print(f"\n  # byte {at} of the flash: T is now t")
    story.run(
        "edgeroot secure-world run --state state --runtime run",
        fails=True,
        says="its hash is another one: it was changed",
        shown=lambda text: "does not run" in text or text.startswith("Error"),
    )

    story.tell(
        """4. He goes further: he replaces the fuses, which in an emulation are a file, by ones with a key of his own,
        and signs what he has changed. Now it boots. But its token says so: the verifier knows neither image nor signer.
        """
    )
    (story.folder / "state" / "one-time-memory").rename(story.folder / "one-time-memory.kept")
    story.run("openssl genpkey -algorithm ed25519 -out lab.pem && openssl pkey -in lab.pem -pubout -out lab.pub.pem")
    sign_changed(story.folder)
    story.run("edgeroot device provision --development --root-key lab.pub.pem --images lab --state state")
    story.boot()
    story.run(
        f"edgeroot attestation-token --verifier {url} -o lab.jwt",
        fails=True,
        says="contraindicated",
    )
    print(f"    {why(url)}")
    story.shut_down()
    shutil.move(story.folder / "one-time-memory.kept", story.folder / "state" / "one-time-memory")
    shutil.copy2(story.folder / "flash.kept", flash)
    os.chown(flash, owner.st_uid, owner.st_gid)
    print("\n  # fuses and flash are as they were")


def updated(story: Story, url: str, implementation_id: str) -> None:
    """From 1.0.0 to 1.1.0, and not back."""
    story.tell(
        """5. The maker releases 1.1.0: he signs it, publishes it, and the same step writes what verifiers have to know
        of it. The device fetches it into its other bank, and boots it on trial."""
    )
    story.run("edgeroot device build-images --key maker.pem --version 1.1.0 --security-counter 2 release-1.1.0")
    publish = "edgeroot update publish --repository www --keys roles --product gateway --images"
    story.run(f"{publish} release-1.0.0")
    story.run(f"{publish} release-1.1.0 --implementation-id {implementation_id}")
    story.run(f"edgeroot verifier submit www/gateway-1.1.0.corim --url {url} --token-file token")
    story.boot()
    story.run(
        "edgeroot update check --state update --repository www --root www/metadata/1.root.json --product gateway"
        " || test $? = 100  # there is something newer",
        says="newer: 1.1.0",
    )
    story.run("edgeroot update install --state update", says="installed gateway 1.1.0")
    story.shut_down()
    story.boot()
    story.tell(
        """6. It runs, all partitions answer, and the verifier affirms it: it is accepted, and the device's security
        counter rises. Had nobody accepted it, the version before would come back after three boots."""
    )
    story.run(f"edgeroot update accept --verifier {url}", says="accepted")
    story.run("edgeroot device status --state state", says="security counter: 2")
    story.tell("7. An attacker has the old version, with the maker's good signature, and the way to the device. No.")
    story.run("edgeroot update install --state update --version 1.0.0", fails=True)
    story.run("edgeroot secure-world status", says="bank 1", shown=lambda text: "firmware:" in text)
    story.run(f"edgeroot attestation-token --verifier {url} -o last.jwt", says="affirming")
    story.tell(
        f"8. All of it can be looked at: the verifier's page, with this device's history, is {url}/ until this ends."
    )
    address = urlsplit(url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.request("GET", "/")
        if connection.getresponse().status != 200:
            raise UnexpectedError("the page is not there")


def sign_changed(folder: Path) -> None:
    """All images of the release with the attacker's signature, the crypto partition's with one byte changed."""
    key = load_pem_private_key((folder / "lab.pem").read_bytes(), None)
    assert isinstance(key, SigningKey)
    (folder / "lab").mkdir()
    for path in sorted((folder / "release-1.0.0").glob("*.img")):
        body = bytes(decode_image(path.read_bytes()).body)
        body = body.replace(WORDS_OF_THE_PARTITION, WORDS_OF_THE_PARTITION.lower(), 1)
        (folder / "lab" / path.name).write_bytes(sign_image(body, key, version=Version(1), security_counter=1))


def why(url: str) -> str:
    """The first reason for which the verifier does not trust its one device, and how many more there are."""
    address = urlsplit(url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.request("GET", "/fleet/v1/devices")
        (device,) = json.loads(connection.getresponse().read())["devices"]
    return f"because {device['why']}, and {device['failed'] - 1} more"


def main() -> int:
    """Tell the story; the exit code."""
    for program in ("openssl", "bwrap"):
        if shutil.which(program) is None:
            print(f"(The root of trust is left out: {program} is not installed.)")
            return 0
    begun_s = time.monotonic()
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="edgeroot-root-of-trust-") as name, ExitStack() as running:
        Path(name).chmod(0o755)  # the secure world's partitions are other users, who come through here
        story = Story(Path(name), running)
        try:
            url, implementation_id = provisioned_and_attested(story)
            attacked(story, url)
            updated(story, url, implementation_id)
        except UnexpectedError as error:
            print(f"\nerror: {error}\nThat is not how the story goes, please report it", file=sys.stderr)
            return 1
    print(f"\nThat took {time.monotonic() - begun_s:.0f} seconds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
