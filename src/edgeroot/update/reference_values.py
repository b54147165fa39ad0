"""What a verifier has to know of a release: its images as reference values, in a CoRIM."""

from __future__ import annotations

from collections.abc import Iterable

from edgeroot.update.images import ReleaseImage
from edgeroot.verifier.corim import Endorsements, ReferenceValue, write_corim


def corim_name(product: str, version: str) -> str:
    return f"{product}-{version}.corim"


def reference_corim(name: str, implementation_id: bytes, images: Iterable[ReleaseImage]) -> bytes:
    """An unsigned CoRIM: what tokens of devices of this implementation say when they run the release."""
    values = {
        ReferenceValue(
            measurement=image.digest, signer_id=image.signer_id, name=image.name, version=image.version.short
        )
        for image in images
    }
    return write_corim(name, Endorsements(references={implementation_id: values}))
