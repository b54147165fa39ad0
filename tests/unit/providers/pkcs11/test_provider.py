from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeroot.providers.api import Function
from edgeroot.providers.pkcs11 import Pkcs11Settings, keys
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import CKR_DEVICE_MEMORY, CKR_SESSION_HANDLE_INVALID, CkrError
from edgeroot.providers.pkcs11.native import Session
from edgeroot.providers.pkcs11.provider import Pkcs11Provider
from edgeroot.providers.pkcs11.reference import KeyReference
from edgeroot.providers.pkcs11.templates import LABEL as LABEL_OF_KEYS
from edgeroot.providers.pkcs11.templates import Protection, Template, allowed_mechanisms, lookup
from edgeroot.providers.pkcs11.token import Token
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from tests.support.softhsm import LABEL, PIN, SoftHsm, softhsm

ROOT = Path(__file__).resolve().parents[4]
PAIR = KeyAttributes(
    KeyType.ecc_key_pair(EccFamily.SECP_R1),
    256,
    UsageFlags.SIGN_HASH | UsageFlags.VERIFY_HASH,
    Algorithm.ecdsa(Hash.SHA_256),
)


@pytest.fixture
def hsm() -> Iterator[SoftHsm]:
    with softhsm() as made:
        yield made


def opened(settings: Pkcs11Settings) -> Pkcs11Provider:
    provider = Pkcs11Provider(settings, isolate=False)
    provider.start(None)
    return provider


STARTED = """
import sys
from pathlib import Path
from edgeroot.providers.api import Function
from edgeroot.providers.pkcs11 import Pkcs11ProviderType, Pkcs11Settings
from edgeroot.providers.pkcs11.native import isolated
from edgeroot.psa import Secret
from tests.unit.providers.pkcs11.test_provider import PAIR

module, label, pin = sys.argv[1:]
settings = Pkcs11Settings(Path(module), token_label=label, user_pin=Secret(pin.encode()))
provider = Pkcs11ProviderType().open(settings, store_path=Path("/store"))
state = provider.start(None)
assert provider.capabilities().can_hold(Function.GENERATE_KEY, PAIR.key_type, 256)
reference = isolated(lambda: provider.create(provider.plan(PAIR), PAIR, None).reference)
assert provider.exists(reference)
provider.destroy(reference)
assert not provider.exists(reference)
assert provider.start(state) == state
assert Path(module).name not in Path("/proc/self/maps").read_text()
"""


def test_the_process_that_starts_it_never_has_the_module_inside(hsm: SoftHsm) -> None:
    # Another interpreter, because other tests have the module in this one.
    subprocess.run([sys.executable, "-c", STARTED, str(hsm.module), LABEL, PIN], cwd=ROOT, check=True, timeout=60)


def test_a_module_that_takes_the_process_along_is_survived(
    hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Pkcs11Provider(hsm.settings())
    monkeypatch.setattr(Token, "connect", lambda _token: os._exit(1))
    assert provider.start(None) is not None
    assert "ended its process" in caplog.text
    assert Function.GENERATE_KEY in provider.capabilities().offered
    assert not provider.capabilities().can_hold(Function.GENERATE_KEY, PAIR.key_type, 256)


def test_what_is_known_from_the_last_start_is_offered_while_the_token_is_away(hsm: SoftHsm) -> None:
    first = opened(hsm.settings())
    state = bytes(first.start(None) or b"")
    first.close()
    later = Pkcs11Provider(replace(hsm.settings(), library_path=Path("/missing.so")))
    assert later.start(state) == state
    assert later.capabilities().rows == first.capabilities().rows


def test_a_try_that_was_cut_off_leaves_nothing_beside_the_next(hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = opened(hsm.settings())
    generate, cut_off = keys.generate, [True]

    def interrupted(
        session: Session, attributes: KeyAttributes, object_id: bytes, protection: Protection, *, by_copy: bool
    ) -> None:
        generate(session, attributes, object_id, protection, by_copy=by_copy)
        if cut_off:
            cut_off.pop()
            raise CkrError(CKR_SESSION_HANDLE_INVALID, "C_GenerateKeyPair")

    monkeypatch.setattr(keys, "generate", interrupted)
    reference = provider.plan(PAIR)
    provider.create(reference, PAIR, None)
    provider.close()
    assert hsm.object_ids() == [reference[3:]] * 2


@pytest.mark.parametrize("material", [None, Secret(bytes(31) + b"\5")])
def test_a_copy_into_the_token_has_all_that_the_first_one_has(hsm: SoftHsm, material: Secret | None) -> None:
    provider = opened(hsm.settings())
    place = KeyReference.from_bytes(provider.create(provider.plan(PAIR), PAIR, material).reference)
    token = provider._get_token()
    assert token.makes_by_copy
    says = {
        ck.CKA_TOKEN: b"\1",
        ck.CKA_PRIVATE: b"\1",
        ck.CKA_SENSITIVE: b"\1",
        ck.CKA_EXTRACTABLE: b"\0",
        ck.CKA_SIGN: b"\1",
        ck.CKA_LABEL: LABEL_OF_KEYS,
        ck.CKA_ALLOWED_MECHANISMS: allowed_mechanisms(ck.CKM_ECDSA),
    }

    def look(session: Session) -> list[list[Secret]]:
        found = session.find(lookup(PAIR.key_type, place.object_id, ck.CKO_PRIVATE_KEY))
        return [session.attributes(one, tuple(says)) for one in found]

    assert token.run(look) == [list(says.values())]
    provider.close()


@pytest.mark.parametrize(("by_copy", "step"), [(True, "create"), (True, "keep"), (False, "create")])
def test_half_an_imported_pair_is_taken_back(
    hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, step: str, *, by_copy: bool
) -> None:
    monkeypatch.setattr(Token, "makes_by_copy", by_copy)
    provider = opened(hsm.settings())
    make, made = getattr(Session, step), list[int]()

    def full(session: Session, of: Template | int) -> int:
        if made:
            raise CkrError(CKR_DEVICE_MEMORY, step)
        made.append(make(session, of))
        return made[0]

    monkeypatch.setattr(Session, step, full)
    with pytest.raises(PsaError) as raised:
        provider.create(provider.plan(PAIR), PAIR, Secret(bytes(31) + b"\5"))
    assert raised.value.status is PsaStatus.INSUFFICIENT_STORAGE
    provider.close()
    assert len(made) == 1
    assert hsm.object_ids() == []


def test_without_export_no_key_is_made_that_may_leave(hsm: SoftHsm) -> None:
    provider = opened(hsm.settings(allow_export=False))
    exportable = replace(PAIR, usage=PAIR.usage | UsageFlags.EXPORT)
    for refused in (lambda: provider.plan(exportable), lambda: provider.create(b"\1\x12\x71id", exportable, None)):
        with pytest.raises(PsaError) as raised:
            refused()
        assert raised.value.status is PsaStatus.NOT_PERMITTED
    public = replace(exportable, key_type=exportable.key_type.public_of_pair)
    made = provider.load(provider.create(provider.plan(PAIR), PAIR, None).reference, PAIR)
    point = provider.export_public_key(made)
    copied = provider.create(provider.plan(public), public, Secret(point))
    assert provider.export_key(provider.load(copied.reference, copied.attributes)) == point
    provider.close()


def test_in_software_a_public_key_works_without_its_token(hsm: SoftHsm) -> None:
    provider = opened(hsm.settings(software_public_operations=True))
    key = provider.load(provider.create(provider.plan(PAIR), PAIR, None).reference, PAIR)
    signature = provider.sign_hash(key, PAIR.algorithm, bytes(32))
    provider.verify_hash(key, PAIR.algorithm, bytes(32), signature)
    hsm.tokens.rename(hsm.folder / "away")
    provider.verify_hash(key, PAIR.algorithm, bytes(32), signature)
    with pytest.raises(PsaError):
        provider.sign_hash(key, PAIR.algorithm, bytes(32))
    provider.close()


def test_the_token_itself_refuses_what_the_policy_does_not_name(hsm: SoftHsm) -> None:
    """Even if somebody has changed the policy in the key store."""
    provider = opened(hsm.settings())
    usage = UsageFlags.ENCRYPT | UsageFlags.DECRYPT
    made = KeyAttributes(KeyType.AES, 128, usage, Algorithm.GCM)
    reference = provider.create(provider.plan(made), made, None).reference
    changed = provider.load(reference, replace(made, algorithm=Algorithm.ECB_NO_PADDING))
    with pytest.raises(PsaError, match="C_EncryptInit with CKR_MECHANISM_INVALID"):
        provider.cipher_encrypt(changed, Algorithm.ECB_NO_PADDING, bytes(16))
    provider.close()
