"""Build what a release consists of, and sign it with a key that a Parsec service holds.

Usage: build_release.py [-o FOLDER] [--key NAME] [--no-image] [--no-deb]   (default: dist)
       build_release.py --verify FOLDER --public-key FILE

In the folder are then: wheel and source archive; the Debian packages; the container image; for each of these an SBOM
(CycloneDX 1.6, JSON); SHA256SUMS; and provenance.intoto.json, an in-toto statement with SLSA's provenance (v1) about
all of it, in a DSSE envelope. Who wants to know whether files are those of a release verifies that, with the maker's
public key. Without --key there is no provenance.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

ROOT: Final = Path(__file__).resolve().parent.parent
PROVENANCE: Final = "provenance.intoto.json"
SUMS: Final = "SHA256SUMS"
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_SLSA: Final = "https://slsa.dev/provenance/v1"
_BUILD_TYPE: Final = "https://edgeroot.dev/build/v1"


class ReleaseError(Exception):
    """What was looked at is not the release that was signed."""


def build_python(folder: Path) -> list[Path]:
    """Source archive and wheel, the same for the same source wherever and whenever they are built."""
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch(), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "hatchling", "build", "-d", place]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        made = []
        for path in sorted(Path(place).iterdir()):
            made.append(folder / path.name)
            made[-1].write_bytes(path.read_bytes())
    return made


def statement(files: Iterable[Path], *, revision: str) -> bytes:
    """The in-toto statement about these files."""
    subjects = [{"name": path.name, "digest": {"sha256": _digest(path)}} for path in sorted(files)]
    definition = {
        "buildType": _BUILD_TYPE,
        "externalParameters": {"script": "scripts/build_release.py"},
        "resolvedDependencies": [{"uri": "git+https://edgeroot.dev", "digest": {"gitCommit": revision}}],
    }
    builder = {"builder": {"id": f"{_BUILD_TYPE}#by-hand"}}
    predicate = {"buildDefinition": definition, "runDetails": builder}
    whole = {"_type": _STATEMENT, "subject": subjects, "predicateType": _SLSA, "predicate": predicate}
    return json.dumps(whole, sort_keys=True).encode()


def verify(folder: Path, public_key: bytes) -> list[str]:
    """The names of the files that are as they were signed, which are all there are. ReleaseError otherwise."""
    envelope = Envelope.from_dict(json.loads((folder / PROVENANCE).read_bytes()))
    key = SSlibKey.from_crypto(load_pem_public_key(public_key))
    try:
        # The key is the one that was given, whatever the envelope calls it.
        for signature in envelope.signatures.values():
            signature.keyid = key.keyid
        envelope.verify([key], 1)
    except VerificationError as error:
        raise ReleaseError(f"{PROVENANCE} is not signed by this key") from error
    signed: dict[str, Any] = json.loads(envelope.payload)
    if (envelope.payload_type, signed.get("_type"), signed.get("predicateType")) != (_PAYLOAD, _STATEMENT, _SLSA):
        raise ReleaseError(f"{PROVENANCE} is another kind of statement")
    digests = {one["name"]: one["digest"]["sha256"] for one in signed["subject"]}
    there_are = {path.name for path in folder.iterdir() if path.is_file()} - {PROVENANCE}
    if unsigned := there_are - set(digests):
        raise ReleaseError(f"{', '.join(sorted(unsigned))}: not of this release")
    for name, digest in digests.items():
        if name not in there_are:
            raise ReleaseError(f"{name}: missing")
        if _digest(folder / name) != digest:
            raise ReleaseError(f"{name}: not as it was released")
    return sorted(digests)


def epoch() -> str:
    """When the source was committed, for what stores times."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    return _git("log", "-1", "--format=%ct") or "1700000000"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    """Build or verify; 1 with the reason if something is not as it should be."""
    parser = argparse.ArgumentParser(description="Build what a release consists of, or verify it.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--key", help="the key in the service that PARSEC_SERVICE_ENDPOINT names")
    parser.add_argument("--no-image", action="store_true")
    parser.add_argument("--no-deb", action="store_true")
    parser.add_argument("--verify", type=Path, metavar="FOLDER")
    parser.add_argument("--public-key", type=Path)
    options = parser.parse_args(arguments)
    from scripts.software_bill import BillError

    try:
        if options.verify:
            if options.public_key is None:
                parser.error("--verify takes --public-key, which comes from the maker by another way")
            for name in verify(options.verify, options.public_key.read_bytes()):
                print(f"{name}: as it was released")
            return 0
        _build(options)
    except (ReleaseError, BillError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _build(options: argparse.Namespace) -> None:
    from scripts.software_bill import parts_of, software_bill

    folder: Path = options.output
    if folder.exists() and any(folder.iterdir()):
        raise ReleaseError(f"{folder} is not empty: a release is built in a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)
    made = build_python(folder)
    if not options.no_deb:
        subprocess.run([sys.executable, ROOT / "scripts/build_deb.py", "-o", folder], check=True)
        made += sorted(folder.glob("*.deb"))
    if not options.no_image:
        image = folder / "edgeroot.oci.tar"
        subprocess.run([sys.executable, ROOT / "scripts/build_image.py", "-o", image], check=True)
        version = re.findall('"(.+)"', (ROOT / "src/edgeroot/_version.py").read_text())[-1]
        (folder / f"{image.name}.cdx.json").write_bytes(software_bill("edgeroot-image", version, parts_of(image)))
    for artefact in made:
        if artefact.suffix in {".whl", ".deb"}:
            name, version = artefact.name.split("_" if artefact.suffix == ".deb" else "-")[:2]
            (folder / f"{artefact.name}.cdx.json").write_bytes(software_bill(name, version, parts_of(artefact)))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    (folder / SUMS).write_text("".join(f"{_digest(path)}  {path.name}\n" for path in files))
    if options.key:
        from edgeroot.client import Client
        from edgeroot.client.signer import ServiceSigner

        files.append(folder / SUMS)
        envelope = Envelope(statement(files, revision=_git("rev-parse", "HEAD")), _PAYLOAD, {})
        with Client() as client:
            envelope.sign(ServiceSigner(client, options.key))
        (folder / PROVENANCE).write_text(json.dumps(envelope.to_dict(), sort_keys=True) + "\n")
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
