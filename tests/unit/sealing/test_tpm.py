"""Secrets sealed to the genuine swtpm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.psa import Secret
from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.key_file import key_file
from edgeroot.sealing.secret_file import SecretFile, find
from edgeroot.sealing.tpm import TpmPlace, parse_pcrs, pcrs_of, seal, unseal
from tests.support.swtpm import Swtpm, running_swtpm

SECRET = Secret(bytes(range(32)))
RECOVERY = "put the recovery copy back"

EDGEROOT = str(Path(sys.executable).with_name("edgeroot"))


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    with running_swtpm(tmp_path_factory.mktemp("tpm") / "state") as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.key"


def extend(tcti: str, pcr: int) -> None:
    """What the start of other software does to a register."""
    from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

    with ESAPI(tcti) as esys:
        digest = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"\7" * 32))
        esys.pcr_extend(ESYS_TR(pcr), TPML_DIGEST_VALUES([digest]))


def loaded(tcti: str) -> list[int]:
    """Transient objects and sessions that the TPM holds."""
    from tpm2_pytss import ESAPI, TPM2_CAP

    found: list[int] = []
    with ESAPI(tcti) as esys:
        for kind in (0x80000000, 0x02000000, 0x03000000):
            _, capability = esys.get_capability(TPM2_CAP.HANDLES, kind, 9)
            found += map(int, capability.data.handles)
    return found


@pytest.mark.parametrize("pcrs", [(), (0,), (7, 0, 23)])
def test_a_secret_comes_back_and_leaves_nothing_in_the_tpm(tpm: Swtpm, pcrs: tuple[int, ...]) -> None:
    blob = seal(SECRET, TpmPlace(tpm.tcti, pcrs))
    assert bytes(SECRET) not in blob
    assert pcrs_of(blob) == tuple(sorted(pcrs))
    opened = unseal(blob, tpm.tcti)
    assert opened == SECRET
    assert isinstance(opened, Secret)
    assert loaded(tpm.tcti) == []


def test_it_comes_back_after_a_restart_but_not_with_other_registers(tmp_path: Path) -> None:
    with running_swtpm(tmp_path / "tpm") as own:
        bound, free = (seal(SECRET, TpmPlace(own.tcti, pcrs)) for pcrs in ((7,), ()))
        own.restart()
        assert unseal(bound, own.tcti) == unseal(free, own.tcti) == SECRET
        extend(own.tcti, 7)
        with pytest.raises(SealingError, match=f"registers are not what they were.*{RECOVERY}"):
            unseal(bound, own.tcti)
        assert unseal(free, own.tcti) == SECRET
        assert loaded(own.tcti) == []


def test_another_tpm_does_not_give_it_back(tpm: Swtpm, tmp_path: Path) -> None:
    blob = seal(SECRET, TpmPlace(tpm.tcti))
    with running_swtpm(tmp_path / "other") as other, pytest.raises(SealingError, match=f"another TPM.*{RECOVERY}"):
        unseal(blob, other.tcti)


def test_the_persistent_storage_key_is_used_where_there_is_one(tmp_path: Path) -> None:
    from tpm2_pytss import ESAPI, ESYS_TR, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMA_OBJECT

    with running_swtpm(tmp_path / "tpm") as own:
        with ESAPI(own.tcti) as esys:
            attributes = TPMA_OBJECT.DEFAULT_TPM2_TOOLS_CREATEPRIMARY_ATTRS
            template = TPM2B_PUBLIC.parse("rsa2048:aes128cfb", objectAttributes=attributes)
            primary = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.OWNER)[0]
            esys.evict_control(ESYS_TR.OWNER, primary, 0x81000001)
            esys.flush_context(primary)
        blob = seal(SECRET, TpmPlace(own.tcti, (0,)))
        assert unseal(blob, own.tcti) == SECRET
        with ESAPI(own.tcti) as esys:
            esys.evict_control(ESYS_TR.OWNER, esys.tr_from_tpmpublic(0x81000001), 0)
        with pytest.raises(SealingError, match="another TPM"):
            unseal(blob, own.tcti)


def test_every_changed_byte_is_noticed(tpm: Swtpm) -> None:
    blob = seal(SECRET, TpmPlace(tpm.tcti, (0,)))
    for position in range(0, len(blob), 7):
        changed = bytearray(blob)
        changed[position] ^= 0x41
        with pytest.raises(SealingError):
            unseal(bytes(changed), tpm.tcti)
    for length in (0, 1, 2, 40, len(blob) - 1):
        with pytest.raises(SealingError):
            unseal(blob[:length], tpm.tcti)
    assert loaded(tpm.tcti) == []


def test_a_tpm_that_is_not_there_is_named() -> None:
    with pytest.raises(SealingError, match=r"swtpm:host=127\.0\.0\.1,port=1 cannot be used"):
        seal(SECRET, TpmPlace("swtpm:host=127.0.0.1,port=1"))


@pytest.mark.parametrize("text", ["a", "0,,7", "0;7", "-1", "24", "7,99"])
def test_registers_that_no_tpm_has_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="registers"):
        TpmPlace("x", parse_pcrs(text))


def test_registers_as_people_write_them() -> None:
    assert TpmPlace("x", parse_pcrs(" 7, 0,7 ")).pcrs == (0, 7)
    assert parse_pcrs("  ") == ()


def test_a_wrapping_key_that_is_made_sealed_is_nowhere_plain(tpm: Swtpm, path: Path) -> None:
    place = TpmPlace(tpm.tcti, (0, 7))
    key = key_file(path, place=place)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"edgeroot wrapping key v1 sealed to a TPM\n")
    assert key_file(path, create=False, place=place).fingerprint == key.fingerprint
    with pytest.raises(SealingError, match="sealed to a TPM: say in the configuration to which"):
        key_file(path)


def test_one_that_was_plain_is_refused_until_it_is_sealed(tpm: Swtpm, path: Path, tmp_path: Path) -> None:
    place = TpmPlace(tpm.tcti)
    plain = key_file(path)
    with pytest.raises(SealingError, match=r"not sealed, though a TPM is configured.*edgeroot sealing to-tpm"):
        key_file(path, place=place)
    find(path, None).recover(tmp_path / "recovery.key")
    find(path, None).seal(place)
    assert key_file(path, place=place).fingerprint == plain.fingerprint
    assert key_file(tmp_path / "recovery.key").fingerprint == plain.fingerprint
    with pytest.raises(SealingError, match="sealed already"):
        find(path, None).seal(place)


def test_a_recovery_copy_replaces_nothing(path: Path, tmp_path: Path) -> None:
    key_file(path)
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(SealingError, match="taken exists"):
        find(path, None).recover(tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"mine"


def test_kinds_are_told_apart(path: Path) -> None:
    SecretFile(path, "device secret").open()
    assert find(path, None).kind == "device secret"
    with pytest.raises(SealingError, match="no wrapping key of edgeroot"):
        key_file(path)
    path.write_bytes(b"something else")
    with pytest.raises(SealingError, match="neither"):
        find(path, None)


def test_the_commands_on_a_real_tpm(tpm: Swtpm, path: Path, tmp_path: Path) -> None:
    def edgeroot(*arguments: str) -> str:
        done = subprocess.run(
            [EDGEROOT, "sealing", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout + done.stderr

    fingerprint = key_file(path).fingerprint
    assert edgeroot("show", str(path)) == "wrapping key, plain\n"
    assert "--no-recovery" in edgeroot("to-tpm", str(path), "--tpm", tpm.tcti)
    recovery = str(tmp_path / "recovery.key")
    assert "is sealed" in edgeroot("to-tpm", str(path), "--tpm", tpm.tcti, "--pcrs", "0,7", "--recovery", recovery)
    assert edgeroot("show", str(path)) == "wrapping key, sealed to a TPM, and to its registers 0, 7\n"
    assert key_file(Path(recovery)).fingerprint == fingerprint
    copy = str(tmp_path / "copy.key")
    assert "A plain copy" in edgeroot("recover", str(path), "--tpm", tpm.tcti, "-o", copy)
    assert key_file(Path(copy)).fingerprint == fingerprint
