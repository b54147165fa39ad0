"""Coverage-guided fuzzing of what the boot reads before anybody has vouched for it: images, and their content.

The first byte chooses the target. An input is taken and gives the same again, or is refused with the one error that
there is for it. Run ``python fuzz/fuzz_boot.py fuzz/corpus/boot -max_total_time=60`` from the root with the root and
``src`` on the path; it needs atheris. The test suite replays the corpus without it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus" / "boot"
IMAGE, CONTENT = range(2)
ROOT_KEY_HASH: Final = bytes(32)  # nobody's: an image that gets as far as its signature is refused


def exercise(data: bytes) -> str:
    """Run one input; what came of it."""
    from edgeroot.abi.mcuboot import ImageError, decode_image
    from edgeroot.secure.boot.archive import decode_archive
    from edgeroot.secure.boot.root_keys import RootKeys
    from edgeroot.secure.boot.verify import verify_image

    if not data:
        return "empty"
    if data[0] % 2 == CONTENT:
        try:
            archive = decode_archive(data[1:], partition="p")
        except ImageError:
            return "content refused"
        assert decode_archive(archive.encode(), partition="p") == archive
        return "content"
    try:
        image = decode_image(data[1:])
    except ImageError:
        return "image refused"
    assert len(image.body) <= image.hashed_bytes <= len(data) - 1
    try:
        verify_image(data[1:], root_keys=RootKeys.of(ROOT_KEY_HASH), least_security_counter=0)
    except ImageError as error:
        return f"image: {error}"
    raise AssertionError("nobody's key has signed an image")


def seeds() -> dict[str, bytes]:
    """Every seed by its file name; the same each time."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edgeroot.abi.mcuboot import Dependency, Version
    from edgeroot.secure.boot.signing import sign_image
    from edgeroot.secure.runtime.importer import MAGIC

    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    needs = (Dependency(2, Version(1, 2, 3, 4)),)
    image = sign_image(b"body", key, version=Version(1), security_counter=7, dependencies=needs)
    entries = [(b"N", b"p", b""), (b"B", b"", b"import sys"), (b"E", b"main", b"lazy"), (b"D", b"p/f", b"file")]
    entries.append((b"X", b"native", b"\x7fELF"))
    content = MAGIC + b"".join(
        kind + len(name).to_bytes(2, "little") + len(of_it).to_bytes(4, "little") + name + of_it
        for kind, name, of_it in entries
    )
    return {
        "image": bytes([IMAGE]) + image,
        "image-changed": bytes([IMAGE]) + image[:32] + b"B" + image[33:],
        "image-cut": bytes([IMAGE]) + image[:-1],
        "content": bytes([CONTENT]) + content,
        "content-cut": bytes([CONTENT]) + content[:-1],
    }


def main() -> None:
    atheris = importlib.import_module("atheris")  # neither typed nor needed by whoever only replays the corpus

    with atheris.instrument_imports(include=["edgeroot.secure.boot", "edgeroot.secure.runtime.importer"]):
        exercise(b"\0")

    def target(data: bytes) -> None:
        exercise(data)

    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
