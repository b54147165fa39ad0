"""Evidence from a real service with a TPM: verified by what a relying party has, and by the genuine tpm2-tools."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPMA_NV
from tpm2_pytss.types import TPM2B_NV_PUBLIC, TPML_DIGEST_VALUES, TPMS_NV_PUBLIC, TPMT_HA

from edgeroot import engine
from edgeroot.client import templates
from edgeroot.client.auth import DirectAuth
from edgeroot.client.errors import DoesNotExistError, InvalidArgumentError, NotSupportedError, ServiceError
from edgeroot.evidence import (
    BORN_HERE,
    ChallengeError,
    KeyAttributesError,
    KeyNameError,
    PcrDigestError,
    PcrValueError,
    TpmEvidence,
    UntrustedKeyError,
    read_tpm_evidence,
    verify_certified_key,
    verify_quote,
)
from edgeroot.evidence.tpm_structures import EccPublic, ObjectFlags, Public
from edgeroot.providers.tpm import TpmProvider, TpmProviderType, TpmSettings
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyType, Secret, UsageFlags, bound_challenge
from edgeroot.wire.opcodes import Opcode
from tests.support.requirements import unavailable
from tests.support.service import SOFTWARE_PROVIDER, UNIX, Service, running_service
from tests.support.swtpm import Swtpm, esapi, running_swtpm, with_tpm

CHALLENGE = bytes(range(64))
DIRECT, UNIX_PEER = 1, 3
CERTIFICATE = b"a certificate in DER" * 100


@pytest.fixture
def swtpm(tmp_path: Path) -> Iterator[Swtpm]:
    with running_swtpm(tmp_path / "tpm") as swtpm:
        yield swtpm


@pytest.fixture
def service(swtpm: Swtpm) -> Iterator[Service]:
    with running_service(provider=with_tpm(swtpm)) as service:
        yield service


def mine(challenge: bytes = CHALLENGE) -> bytes:
    """What is qualifying data for this user."""
    return bound_challenge(challenge, authenticator=UNIX_PEER, application=str(os.getuid()))


def quoted(service: Service, challenge: bytes = CHALLENGE) -> TpmEvidence:
    with service.client() as client:
        return read_tpm_evidence(client.attestation_token(challenge))


def certified(service: Service, name: str, challenge: bytes = CHALLENGE) -> TpmEvidence:
    with service.client() as client:
        return read_tpm_evidence(client.key_statement(name, challenge))


def enrolled(service: Service) -> bytes:
    """The attestation key's name, as an operator takes it down who trusts the device that day."""
    return Public.from_bytes(quoted(service).attestation_key).name


def extend(swtpm: Swtpm, index: int, digest: bytes) -> None:
    with esapi(swtpm) as others:
        values = TPML_DIGEST_VALUES([TPMT_HA(hashAlg=TPM2_ALG.SHA256)])
        values[0].digest.sha256 = digest
        others.pcr_extend(ESYS_TR(index), values)


def test_a_quote_says_what_the_machine_has_measured(swtpm: Swtpm) -> None:
    digest = sha256(b"a boot loader").digest()
    extend(swtpm, 4, digest)
    with running_service(provider=with_tpm(swtpm)) as service:
        name = enrolled(service)
        expected = {0: bytes(32), 4: sha256(bytes(32) + digest).digest(), 23: bytes(32)}
        quote = verify_quote(quoted(service), trusted_name=name, qualifying_data=mine(), expected=expected)
        assert sorted(quote.pcrs) == list(range(24))
        for index, value in ((4, bytes(32)), (7, digest)):
            with pytest.raises(PcrValueError) as caught:
                verify_quote(quoted(service), trusted_name=name, qualifying_data=mine(), expected={index: value})
            assert caught.value.index == index
        service.end()
        swtpm.restart()
        service.start()
        again = verify_quote(quoted(service), trusted_name=name, qualifying_data=mine(), expected={4: bytes(32)})
    assert again.clock.reset_count > quote.clock.reset_count
    assert again.firmware_version == quote.firmware_version


def test_values_that_were_exchanged_on_the_way_are_noticed(service: Service) -> None:
    evidence = quoted(service)
    wanted = replace(evidence, pcrs=(sha256(b"wanted").digest(), *evidence.pcrs[1:]))
    with pytest.raises(PcrDigestError):
        verify_quote(wanted, trusted_name=enrolled(service), qualifying_data=mine(), expected={})


def test_every_size_of_a_challenge_and_no_other(service: Service) -> None:
    name = enrolled(service)
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        for size_bytes in (32, 48, 64):
            evidence = quoted(service, bytes(size_bytes))
            verify_quote(evidence, trusted_name=name, qualifying_data=mine(bytes(size_bytes)), expected={})
        for size_bytes in (0, 31, 33, 65):
            with pytest.raises(InvalidArgumentError):
                client.attestation_token(bytes(size_bytes))
            with pytest.raises(InvalidArgumentError):
                client.key_statement("key", bytes(size_bytes))


def as_tools_write(pcrs: tuple[bytes, ...]) -> bytes:
    """All 24 PCRs in the tools' own format: TPML_PCR_SELECTION, a count, so many TPML_DIGEST, as they lie in memory."""
    selection = struct.pack("<IHB4sx", 1, TPM2_ALG.SHA256, 3, b"\xff\xff\xff") + bytes(15 * 8)
    lists = [
        struct.pack("<I", 8) + b"".join(struct.pack("<H64s", len(value), value) for value in pcrs[at : at + 8])
        for at in range(0, 24, 8)
    ]
    return selection + struct.pack("<I", len(lists)) + b"".join(lists)


def test_genuine_tools_verify_a_quote(service: Service, tmp_path: Path) -> None:
    if shutil.which("tpm2_checkquote") is None:
        unavailable("tpm2_checkquote is not installed (Debian's package tpm2-tools)")
    evidence = quoted(service)
    area = bytes(evidence.attestation_key)
    (tmp_path / "public").write_bytes(len(area).to_bytes(2) + area)
    (tmp_path / "message").write_bytes(evidence.attest)
    (tmp_path / "signature").write_bytes(evidence.signature)

    def accepts(qualifying_data: bytes, pcrs: tuple[bytes, ...]) -> bool:
        (tmp_path / "pcrs").write_bytes(as_tools_write(pcrs))
        command = (
            *("tpm2_checkquote", "-u", "public", "-m", "message", "-s", "signature", "-g", "sha256"),
            *("-q", qualifying_data.hex(), "-f", "pcrs"),
        )
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    assert accepts(mine(), evidence.pcrs)
    assert not accepts(CHALLENGE[:32], evidence.pcrs)
    assert not accepts(mine(), evidence.pcrs[::-1])


def test_genuine_tools_show_that_the_attestation_key_is_beside_the_endorsement_key(
    swtpm: Swtpm, service: Service, tmp_path: Path
) -> None:
    """As in docs/tpm.md: what a verifier does when a device is enrolled, and what its operator answers."""
    if shutil.which("tpm2_activatecredential") is None:
        unavailable("tpm2_activatecredential is not installed (Debian's package tpm2-tools)")
    name = enrolled(service)
    service.end()
    (tmp_path / "challenge").write_bytes(b"a challenge")

    def tool(command: str, *words: str) -> None:
        done = subprocess.run(
            (f"tpm2_{command}", *words),
            cwd=tmp_path,
            env={**os.environ, "TPM2TOOLS_TCTI": swtpm.tcti},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    tool("createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
    tool("flushcontext", "-t")
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign"
    tool("createprimary", "-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-a", attributes, "-c", "ak.ctx")
    tool("readpublic", "-c", "ak.ctx", "-n", "ak.name")
    assert (tmp_path / "ak.name").read_bytes() == name
    tool("flushcontext", "-t")
    tool("makecredential", "-T", "none", "-u", "ek.pub", "-s", "challenge", "-n", name.hex(), "-o", "credential")
    tool("startauthsession", "--policy-session", "-S", "session.ctx")
    tool("policysecret", "-S", "session.ctx", "-c", "e")
    tool(
        *("activatecredential", "-c", "ak.ctx", "-C", "ek.ctx", "-P", "session:session.ctx"),
        *("-i", "credential", "-o", "answer"),
    )
    assert (tmp_path / "answer").read_bytes() == b"a challenge"


def test_a_key_of_the_tpms_own_is_told_from_an_imported_one(service: Service) -> None:
    name = enrolled(service)
    template = templates.ecdsa_p256()
    with service.client() as client:
        client.generate_key("key", template)
        client.import_key("imported", template, engine.export(template, engine.generate(template)))
        point = client.export_public_key("key")
    key = verify_certified_key(certified(service, "key"), trusted_name=name, qualifying_data=mine())
    assert key.public.flags & BORN_HERE == BORN_HERE
    detail = key.public.detail
    assert isinstance(detail, EccPublic)
    assert b"\x04" + detail.x + detail.y == point
    imported = certified(service, "imported")
    with pytest.raises(KeyAttributesError):
        verify_certified_key(imported, trusted_name=name, qualifying_data=mine())
    anywhere = ObjectFlags(0)
    found = verify_certified_key(imported, trusted_name=name, qualifying_data=mine(), required=anywhere)
    assert found.public.flags & BORN_HERE == 0
    with pytest.raises(KeyNameError):
        verify_certified_key(replace(imported, public=bytes(key.public)), trusted_name=name, qualifying_data=mine())


def test_keys_of_every_kind_are_certified_but_not_those_that_are_public(service: Service) -> None:
    name = enrolled(service)
    rsa = KeyAttributes(KeyType.RSA_KEY_PAIR, 2048, UsageFlags.SIGN_HASH, Algorithm.NONE)
    aes = KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT, Algorithm.CTR)
    pair = KeyType.ecc_key_pair(EccFamily.SECP_R1)
    with service.client() as client:
        for kind, attributes in (("rsa", rsa), ("aes", aes)):
            client.generate_key(kind, attributes)
            verify_certified_key(certified(service, kind), trusted_name=name, qualifying_data=mine())
        client.generate_key("pair", templates.ecdsa_p256())
        public = KeyAttributes(pair.public_of_pair, 256, UsageFlags.VERIFY_HASH, templates.ecdsa_p256().algorithm)
        client.import_key("public", public, Secret(client.export_public_key("pair")))
        with pytest.raises(InvalidArgumentError):
            client.key_statement("public", CHALLENGE)


def test_another_tpms_key_is_not_trusted(service: Service, tmp_path: Path) -> None:
    with running_swtpm(tmp_path / "another") as another, running_service(provider=with_tpm(another)) as elsewhere:
        evidence = quoted(elsewhere)
    with pytest.raises(UntrustedKeyError):
        verify_quote(evidence, trusted_name=enrolled(service), qualifying_data=mine(), expected={})


def test_evidence_is_of_no_use_to_another_application(swtpm: Swtpm) -> None:
    """Of whoever the service has authenticated: two applications get two statements for one challenge."""
    direct = UNIX.replace("UnixPeerCredentials", "Direct")
    with (
        running_service(provider=with_tpm(swtpm), authenticator=direct) as service,
        service.client(auth=DirectAuth("one")) as one,
        service.client(auth=DirectAuth("other")) as other,
    ):
        one.generate_key("key", templates.ecdsa_p256())
        token = read_tpm_evidence(one.attestation_token(CHALLENGE))
        key = read_tpm_evidence(one.key_statement("key", CHALLENGE))
        with pytest.raises(DoesNotExistError):
            other.key_statement("key", CHALLENGE)
    name = Public.from_bytes(token.attestation_key).name
    ones, others = (
        bound_challenge(CHALLENGE, authenticator=DIRECT, application=application) for application in ("one", "other")
    )
    verify_quote(token, trusted_name=name, qualifying_data=ones, expected={})
    verify_certified_key(key, trusted_name=name, qualifying_data=ones)
    for wrong in (others, CHALLENGE, bound_challenge(CHALLENGE, authenticator=UNIX_PEER, application="one")):
        with pytest.raises(ChallengeError):
            verify_quote(token, trusted_name=name, qualifying_data=wrong, expected={})
        with pytest.raises(ChallengeError):
            verify_certified_key(key, trusted_name=name, qualifying_data=wrong)


def test_the_makers_certificate_goes_along_if_everybody_may_read_it(swtpm: Swtpm) -> None:
    readable = TPMA_NV.OWNERWRITE | TPMA_NV.AUTHREAD | TPMA_NV.OWNERREAD | TPMA_NV.NO_DA
    for attributes, found in ((readable, CERTIFICATE), (readable & ~TPMA_NV.AUTHREAD, b"")):
        with esapi(swtpm) as maker:
            area = TPMS_NV_PUBLIC(
                nvIndex=0x01C00002, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=len(CERTIFICATE)
            )
            index = maker.nv_define_space(b"", TPM2B_NV_PUBLIC(area))
            for at in range(0, len(CERTIFICATE), 500):
                maker.nv_write(index, CERTIFICATE[at : at + 500], at, ESYS_TR.OWNER)
        with running_service(provider=with_tpm(swtpm)) as service:
            assert quoted(service).endorsement_certificate == found
            assert quoted(service).endorsement_certificate == found
        with esapi(swtpm) as maker:
            maker.nv_undefine_space(maker.tr_from_tpmpublic(0x01C00002), ESYS_TR.OWNER)


def test_the_attestation_key_outlives_an_owner_and_is_not_got_at_without_the_authorisation(
    swtpm: Swtpm, tmp_path: Path
) -> None:
    def provider(endorsement_auth: bytes = b"") -> TpmProvider:
        settings = TpmSettings(swtpm.tcti, endorsement_hierarchy_auth=Secret(endorsement_auth))
        opened = TpmProviderType().open(settings, store_path=tmp_path / "keys.sqlite3")
        opened.start(None)
        return opened

    def key_of(provider: TpmProvider) -> bytes:
        key = read_tpm_evidence(provider.attestation_token(bytes(32))).attestation_key
        provider.close()
        return key

    before = key_of(provider())
    with esapi(swtpm) as owner:
        owner.clear(ESYS_TR.LOCKOUT)
        owner.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, b"a secret")
    assert key_of(provider(b"a secret")) == before
    with pytest.raises(Exception, match=r"TPM_RC_BAD_AUTH") as caught:
        key_of(provider())
    assert "a secret" not in str(caught.value)


def test_it_exists_for_extended_requests_and_for_tpms_only(service: Service) -> None:
    with service.client() as client:
        assert {Opcode.ATTESTATION_TOKEN, Opcode.KEY_STATEMENT} <= set(client.list_opcodes(3))
    with running_service(provider=SOFTWARE_PROVIDER) as other, other.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        assert not {Opcode.ATTESTATION_TOKEN, Opcode.KEY_STATEMENT} & set(client.list_opcodes(1))
        with pytest.raises(NotSupportedError):
            client.key_statement("key", CHALLENGE)


def test_keys_outlast_many_quotes_in_between(service: Service) -> None:
    """Three transient objects are all that this TPM holds: the storage key, the attesting one, a key."""
    with service.client() as client:
        for name in ("one", "another"):
            client.generate_key(name, templates.ecdsa_p256())
        for _ in range(3):
            for name in ("one", "another"):
                client.key_statement(name, CHALLENGE)
                client.attestation_token(CHALLENGE)
                client.prepare_key_attestation(name)
                client.sign_hash(name, templates.ecdsa_p256().algorithm, bytes(32))
        with pytest.raises(ServiceError):
            client.key_statement("no such key", CHALLENGE)
