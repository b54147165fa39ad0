"""Coverage-guided fuzzing of what a verifier reads from anybody: evidence, its wrappers, endorsements, logs.

The first byte chooses the target. An input is taken, and then gives the same again where there is a writer; or it is
refused with the one error that there is for it. Run ``python fuzz/fuzz_evidence.py fuzz/corpus/evidence
-max_total_time=60`` from the root with the root and ``src`` on the path; it needs atheris. The test suite replays the
corpus without it. ``python fuzz/fuzz_evidence.py --seeds`` writes the seeds anew.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgeroot import evidence as e
from edgeroot.evidence import cbor
from edgeroot.evidence.tpm_attest import Attest, EcdsaSignature
from edgeroot.evidence.tpm_structures import Alg, MalformedError, Public
from edgeroot.verifier import corim
from edgeroot.verifier.appraisal import appraise
from edgeroot.verifier.cmw import unwrap_cbor, unwrap_json
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.policy import Policy, parse_policy
from edgeroot.verifier.quote import appraise_quote
from edgeroot.verifier.trust import Status

CORPUS: Final = Path(__file__).parent / "corpus" / "evidence"
NOBODY: Final = corim.Endorsements()
NONCE: Final = bytes(32)


def _cbor(data: bytes) -> None:
    again = cbor.encode(cbor.decode(data, "it"))
    assert cbor.encode(cbor.decode(again, "it")) == again


def _cose(data: bytes) -> None:
    message = e.read_cose(data)
    assert len(message.authenticated_bytes) > len(message.payload)


def _token(data: bytes) -> None:
    profile, claims = e.decode_claims(data)
    assert e.decode_claims(e.encode_claims(claims, profile)) == (profile, claims)


def _statement(data: bytes) -> None:
    e.read_key_statement(data)


def _event_log(data: bytes) -> None:
    for event in e.read_event_log(data):
        assert len(event.digests) <= len(data)
    e.read_measurements(data)


def _replay(data: bytes) -> None:
    values = e.replay(e.read_event_log(data), Alg.SHA256)
    assert all(len(value) == 32 for value in values.values())


def _tpm(data: bytes) -> None:
    found = e.read_tpm_evidence(data)
    assert e.read_tpm_evidence(e.write_tpm_evidence(found)) == found


def _attest(data: bytes) -> None:
    assert bytes(Attest.from_bytes(data)) == data


def _tpm_public(data: bytes) -> None:
    assert bytes(Public.from_bytes(data)) == data


def _tpm_signature(data: bytes) -> None:
    assert bytes(EcdsaSignature.from_bytes(data)) == data


def _shared_key(data: bytes) -> None:
    assert e.read_shared_key(data).key.secret


def _corim(data: bytes) -> None:
    found = corim.read_corim(data)
    if found.keys or found.references:
        again = corim.read_corim(corim.write_corim("again", found))
        assert again.references == {name: some for name, some in found.references.items() if some}


def _signed_corim(data: bytes) -> None:
    corim.read_signed_corim(data, [])


def _policy(data: bytes) -> None:
    parse_policy(data.decode("utf-8", "replace"))


def _wrapped_json(data: bytes) -> None:
    unwrap_json(data)


def _wrapped_cbor(data: bytes) -> None:
    unwrap_cbor(data)


def _appraised(data: bytes) -> None:
    verdict = appraise(data, nonce=NONCE, endorsements=NOBODY, policy=Policy(mac_tokens=True))
    assert verdict.status is Status.CONTRAINDICATED


def _quote_appraised(data: bytes) -> None:
    verdict = appraise_quote(data, nonce=NONCE, endorsements=NOBODY, policy=Policy())
    assert verdict.status is Status.CONTRAINDICATED


TARGETS: Final[tuple[Callable[[bytes], None], ...]] = (
    _cbor,
    _cose,
    _token,
    _statement,
    _event_log,
    _replay,
    _tpm,
    _attest,
    _tpm_public,
    _tpm_signature,
    _shared_key,
    _corim,
    _signed_corim,
    _policy,
    _wrapped_json,
    _wrapped_cbor,
    _appraised,
    _quote_appraised,
)


def exercise(data: bytes) -> str:
    """Run one input; what came of it."""
    if not data:
        return "empty"
    target = TARGETS[data[0] % len(TARGETS)]
    name = target.__name__.removeprefix("_")
    try:
        target(data[1:])
    except (e.EvidenceError, MalformedError, VerifierError):
        return f"{name} refused"
    return name


def seeds() -> dict[str, bytes]:
    """Every seed by its file name; the same each time. For each target one that is taken, if there is any."""
    from fuzz.evidence_seeds import taken

    found: dict[str, bytes] = {}
    for number, target in enumerate(TARGETS):
        name = target.__name__.removeprefix("_").replace("_", "-")
        for which, data in enumerate(taken(name)):
            found[f"{name}-{which}"] = bytes((number,)) + data
            found[f"{name}-{which}-cut"] = bytes((number,)) + data[:-1]
    return found


def main() -> None:
    if sys.argv[1:] == ["--seeds"]:
        CORPUS.mkdir(parents=True, exist_ok=True)
        for name, content in seeds().items():
            (CORPUS / name).write_bytes(content)
        return
    atheris = importlib.import_module("atheris")  # neither typed nor needed by whoever only replays the corpus
    atheris.instrument_all()

    def target(data: bytes) -> None:
        exercise(data)

    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
