from __future__ import annotations

import pytest

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import (
    CKR_ARGUMENTS_BAD,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_TEMPLATE_INCONSISTENT,
    CkrError,
)
from edgeroot.providers.pkcs11.material import CURVES
from edgeroot.providers.pkcs11.mechanisms import Mechanism, OaepParameters
from edgeroot.providers.pkcs11.native import Template
from edgeroot.providers.pkcs11.probe import probe
from edgeroot.providers.pkcs11.profile import MechanismInfo, Profile
from edgeroot.psa import EccFamily, Hash
from tests.support.scripted_token import ScriptedModule, ScriptedSession, token_info

NAMED = [CURVES[EccFamily.SECP_R1, 256], CURVES[EccFamily.SECP_R1, 384], CURVES[EccFamily.SECP_K1, 256]]
SHA2 = frozenset({Hash.SHA_224, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512})


class Session(ScriptedSession):
    """Takes OAEP with SHA-1 without a label, any PSS, and three curves."""

    module: Module

    def generate_key(self, mechanism: Mechanism, template: Template) -> int:
        self.module.templates.append(template)
        if self.module.generate_answer:
            raise CkrError(self.module.generate_answer, "C_GenerateKey")
        return 1

    def create(self, template: Template) -> int:
        self.module.templates.append(template)
        if not self.module.has_session_objects:
            raise CkrError(CKR_TEMPLATE_INCONSISTENT, "C_CreateObject")
        return 1

    def begin_encryption(self, mechanism: Mechanism, key: int) -> None:
        parameters = mechanism.parameters
        assert isinstance(parameters, OaepParameters)
        assert key == 1
        if parameters.hash_mechanism != ck.CKM_SHA_1 or parameters.label:
            raise CkrError(CKR_ARGUMENTS_BAD, "C_EncryptInit")

    def begin_verification(self, mechanism: Mechanism, key: int) -> None:
        assert key == 1

    def generate_key_pair(self, mechanism: Mechanism, public: Template, private: Template) -> tuple[int, int]:
        self.module.templates += [public, private]
        if not self.module.has_session_objects or public[ck.CKA_EC_PARAMS] not in NAMED:
            raise CkrError(CKR_TEMPLATE_INCONSISTENT, "C_GenerateKeyPair")
        return 1, 2


class Module(ScriptedModule):
    def __init__(self, mechanisms: dict[int, MechanismInfo], *, has_session_objects: bool = True) -> None:
        super().__init__()
        self.listed = mechanisms
        self.has_session_objects = has_session_objects
        self.generate_answer = 0
        self.templates: list[Template] = []

    def mechanisms(self, slot: int) -> dict[int, MechanismInfo]:
        return self.listed

    def open_session(self, slot: int) -> Session:
        self.note("open_session")
        return Session(self, slot)


def probed(module: Module) -> Profile:
    profile = probe(module, 7, token_info())
    assert module.calls.count("open_session") == module.calls.count("close")
    # Nothing that was tried stays in the token.
    assert all(template[ck.CKA_TOKEN] is False for template in module.templates)
    return profile


def paddings(flags: int) -> dict[int, MechanismInfo]:
    return {number: MechanismInfo(1024, 4096, flags) for number in (ck.CKM_RSA_PKCS_OAEP, ck.CKM_RSA_PKCS_PSS)}


def test_paddings_are_tried() -> None:
    profile = probed(Module(paddings(ck.CKF_ENCRYPT | ck.CKF_VERIFY)))
    assert profile.oaep == {Hash.SHA_1}
    assert not profile.oaep_labels
    assert profile.pss == SHA2 | {Hash.SHA_1}


def test_what_the_list_does_not_have_is_not_there() -> None:
    module = Module({})
    profile = probed(module)
    assert (profile.oaep, profile.oaep_labels, profile.pss, profile.curves) == (
        frozenset(),
        False,
        frozenset(),
        frozenset(),
    )


def test_what_cannot_be_tried_is_believed() -> None:
    for module in (
        Module(paddings(ck.CKF_ENCRYPT | ck.CKF_VERIFY), has_session_objects=False),
        Module(paddings(ck.CKF_DECRYPT | ck.CKF_SIGN)),  # it does nothing with public keys
    ):
        profile = probed(module)
        assert profile.oaep == profile.pss == SHA2 | {Hash.SHA_1}
        assert profile.oaep_labels


def test_curves_are_tried_within_the_listed_sizes() -> None:
    module = Module({ck.CKM_EC_KEY_PAIR_GEN: MechanismInfo(200, 300, ck.CKF_GENERATE_KEY_PAIR)})
    profile = probed(module)
    assert profile.curves == {(EccFamily.SECP_R1, 256), (EccFamily.SECP_K1, 256)}


def test_a_token_without_passing_pairs_is_taken_to_have_the_usual_curves() -> None:
    listed = {ck.CKM_EC_KEY_PAIR_GEN: MechanismInfo(192, 384, ck.CKF_GENERATE_KEY_PAIR)}
    profile = probed(Module(listed, has_session_objects=False))
    assert profile.curves == {(EccFamily.SECP_R1, 256), (EccFamily.SECP_R1, 384)}


@pytest.mark.parametrize(
    ("answer", "lacking"),
    [(0, set()), (CKR_TEMPLATE_INCONSISTENT, set()), (CKR_FUNCTION_NOT_SUPPORTED, {"C_GenerateKey"})],
)
def test_a_function_that_is_not_there_is_noticed(answer: int, lacking: set[str]) -> None:
    module = Module({})
    module.generate_answer = answer
    assert probed(module).lacks == lacking


def test_an_attribute_that_cannot_be_tried_is_not_used() -> None:
    assert probed(Module({}, has_session_objects=False)).lacks == {"CKA_ALLOWED_MECHANISMS"}
