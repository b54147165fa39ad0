from __future__ import annotations

import pytest

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.profile import MechanismInfo, Profile, Refusal, State
from edgeroot.psa import EccFamily, Hash
from tests.support.scripted_token import token_info

PROFILE = Profile(
    serial_number="0001",
    model="script",
    firmware="1.0",
    has_random=True,
    mechanisms={ck.CKM_ECDSA: MechanismInfo(256, 384, ck.CKF_SIGN), ck.CKM_AES_GCM: MechanismInfo(16, 32, 0x300)},
    oaep=frozenset({Hash.SHA_1}),
    oaep_labels=False,
    pss=frozenset({Hash.SHA_256, Hash.SHA_384}),
    curves=frozenset({(EccFamily.SECP_R1, 256), (EccFamily.BRAINPOOL_P_R1, 512)}),
    lacks=frozenset({"C_GenerateKey"}),
)
REFUSAL = Refusal(b"salt", b"digest", is_counted=True)


@pytest.mark.parametrize("state", [State(), State(PROFILE), State(None, REFUSAL), State(PROFILE, REFUSAL)])
def test_a_state_outlives_the_service(state: State) -> None:
    assert State.from_bytes(bytes(state)) == state


def test_the_same_state_is_the_same_bytes() -> None:
    assert bytes(State(PROFILE)) == bytes(State.from_bytes(bytes(State(PROFILE))))


@pytest.mark.parametrize("encoded", [None, b"", b'{"version": 2, "profile": 1}', b"{}"])
def test_what_another_version_wrote_is_as_good_as_nothing(encoded: bytes | None) -> None:
    assert State.from_bytes(encoded) == State()


def test_another_firmware_is_asked_anew() -> None:
    info = token_info()
    assert PROFILE.describes(info)
    assert PROFILE.describes(info._replace(label="another", flags=0))
    for changed in (
        info._replace(firmware="1.1"),
        info._replace(model="other"),
        info._replace(serial_number="0002"),
    ):
        assert not PROFILE.describes(changed)


def test_a_mechanism_does_what_its_flags_say() -> None:
    assert PROFILE.has(ck.CKM_ECDSA, ck.CKF_SIGN)
    assert not PROFILE.has(ck.CKM_ECDSA, ck.CKF_VERIFY)
    assert not PROFILE.has(ck.CKM_RSA_PKCS, ck.CKF_SIGN)
