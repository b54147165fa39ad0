"""Secrets that only one TPM gives back, and only while its platform configuration registers are as they were.

Sealed secret, version 1: version u8 (1), number of registers u8, their indexes (u8 each, SHA-256 bank), then the
object's TPM2B_PUBLIC and TPM2B_PRIVATE (TPM 2.0 Library, Part 2, clauses 12.2.5 and 12.3.7). The object is a child of
the storage primary key: the persistent one (TCG TPM v2.0 Provisioning Guidance, clause 7.8) where the owner has made
it, else one made from the default template, which gives the same key each time.

On the way between this process and the TPM the secret is encrypted, by a session that is salted with that key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeroot.psa import Secret
from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.tpm_connection import connected, handles

if TYPE_CHECKING:
    from tpm2_pytss import ESAPI, ESYS_TR, TPML_PCR_SELECTION

_VERSION: Final = 1
_STORAGE_KEY: Final = 0x81000001
_PCRS: Final = 24
_ADVICE: Final = {
    0x01D: (  # TPM_RC_POLICY_FAIL
        "the TPM's registers are not what they were when the secret was sealed: start the software that was measured "
        "then, or put the recovery copy back and seal it anew"
    ),
    0x01F: (  # TPM_RC_INTEGRITY
        "the secret was sealed to another TPM, or this one was cleared since: put the recovery copy back and seal it "
        "anew"
    ),
}


@dataclass(frozen=True, slots=True)
class TpmPlace:
    """Which TPM (a TCTI string such as ``device:/dev/tpmrm0``), and which registers a new secret is bound to."""

    tcti: str
    pcrs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pcrs", tuple(sorted(set(self.pcrs))))
        if any(not 0 <= pcr < _PCRS for pcr in self.pcrs):
            raise ValueError(f"a TPM has the registers 0 to {_PCRS - 1}")


def parse_pcrs(text: str) -> tuple[int, ...]:
    """Registers as people write them, ``0,2,7``; ValueError for anything else."""
    if not text.strip():
        return ()
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise ValueError(f'registers are numbers with commas between, such as "0,7", not "{text}"') from None


def seal(secret: Secret, place: TpmPlace) -> bytes:
    """The secret, sealed to this TPM and to what the registers hold now. SealingError."""
    with _with_storage_key(place.tcti) as (tpm, parent):
        from tpm2_pytss import (
            ESYS_TR,
            TPM2_ALG,
            TPM2B_PUBLIC,
            TPM2B_SENSITIVE_CREATE,
            TPM2B_SENSITIVE_DATA,
            TPMA_OBJECT,
            TPMA_SESSION,
            TPMS_KEYEDHASH_PARMS,
            TPMS_SENSITIVE_CREATE,
            TPMT_KEYEDHASH_SCHEME,
            TPMT_PUBLIC,
            TPMU_PUBLIC_PARMS,
        )

        # No guess is worth anything here, so wrong ones do not count towards the lock-out.
        attributes = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.NODA
        template = TPMT_PUBLIC(
            type=TPM2_ALG.KEYEDHASH,
            nameAlg=TPM2_ALG.SHA256,
            objectAttributes=attributes,
            authPolicy=_policy(tpm, place.pcrs),
            parameters=TPMU_PUBLIC_PARMS(
                keyedHashDetail=TPMS_KEYEDHASH_PARMS(scheme=TPMT_KEYEDHASH_SCHEME(scheme=TPM2_ALG.NULL))
            ),
        )
        sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=TPM2B_SENSITIVE_DATA(bytes(secret))))
        with _session(tpm, parent, TPMA_SESSION.DECRYPT, policy=False) as session:
            private, public, *_ = tpm.create(
                parent, sensitive, TPM2B_PUBLIC(template), session1=ESYS_TR.PASSWORD, session2=session
            )
        head = bytes((_VERSION, len(place.pcrs), *place.pcrs))
        return head + bytes(public.marshal()) + bytes(private.marshal())


def unseal(blob: bytes, tcti: str) -> Secret:
    """The secret; SealingError if this is another TPM, or if the registers hold something else."""
    pcrs, public_and_private = _split(blob)
    with _with_storage_key(tcti) as (tpm, parent):
        from tpm2_pytss import ESYS_TR, TPM2B_PRIVATE, TPM2B_PUBLIC, TPMA_SESSION

        public, size_bytes = TPM2B_PUBLIC.unmarshal(public_and_private)
        private, _ = TPM2B_PRIVATE.unmarshal(public_and_private[size_bytes:])
        sealed = tpm.load(parent, private, public, session1=ESYS_TR.PASSWORD)
        with _session(tpm, parent, TPMA_SESSION.ENCRYPT, policy=True) as session:
            _assert_policy(tpm, session, pcrs)
            return Secret(bytes(tpm.unseal(sealed, session1=session)))


def pcrs_of(blob: bytes) -> tuple[int, ...]:
    """The registers that a sealed secret is bound to; SealingError if it is none."""
    return _split(blob)[0]


def _split(blob: bytes) -> tuple[tuple[int, ...], bytes]:
    count = blob[1] if len(blob) > 1 else 0
    pcrs = tuple(blob[2 : 2 + count])
    if blob[:1] != bytes((_VERSION,)) or len(pcrs) != count or any(pcr >= _PCRS for pcr in pcrs):
        raise SealingError("this is no secret that was sealed to a TPM, or it is damaged: restore it from a backup")
    return pcrs, blob[2 + count :]


@contextmanager
def _with_storage_key(tcti: str) -> Iterator[tuple[ESAPI, ESYS_TR]]:
    with connected(tcti, advice=_ADVICE) as tpm:
        yield tpm, _storage_key(tpm)


def _storage_key(tpm: ESAPI) -> ESYS_TR:
    from tpm2_pytss import ESYS_TR, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMA_OBJECT

    if _STORAGE_KEY in handles(tpm, _STORAGE_KEY):
        return tpm.tr_from_tpmpublic(_STORAGE_KEY)
    template = TPM2B_PUBLIC.parse(
        "ecc256:aes128cfb", objectAttributes=TPMA_OBJECT.DEFAULT_TPM2_TOOLS_CREATEPRIMARY_ATTRS | TPMA_OBJECT.NODA
    )
    return tpm.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.OWNER)[0]


@contextmanager
def _session(tpm: ESAPI, parent: ESYS_TR, direction: int, *, policy: bool) -> Iterator[ESYS_TR]:
    """A session for one command, which ends it by succeeding. The first parameter in this direction is encrypted."""
    from tpm2_pytss import ESYS_TR, TPM2_ALG, TPM2_SE, TPMT_SYM_DEF, TPMU_SYM_KEY_BITS, TPMU_SYM_MODE, TSS2_Exception

    symmetric = TPMT_SYM_DEF(
        algorithm=TPM2_ALG.AES, keyBits=TPMU_SYM_KEY_BITS(aes=128), mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB)
    )
    kind = TPM2_SE.POLICY if policy else TPM2_SE.HMAC
    session = tpm.start_auth_session(parent, ESYS_TR.NONE, kind, symmetric, TPM2_ALG.SHA256)
    try:
        tpm.trsess_set_attributes(session, direction)
        yield session
    except BaseException:
        with suppress(TSS2_Exception):
            tpm.flush_context(session)
        raise


def _policy(tpm: ESAPI, pcrs: tuple[int, ...]) -> object:
    """The digest of the policy that :func:`_assert_policy` fulfils."""
    from tpm2_pytss import ESYS_TR, TPM2_ALG, TPM2_SE, TPMT_SYM_DEF

    trial = tpm.start_auth_session(
        ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.TRIAL, TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL), TPM2_ALG.SHA256
    )
    try:
        _assert_policy(tpm, trial, pcrs)
        return tpm.policy_get_digest(trial)
    finally:
        tpm.flush_context(trial)


def _assert_policy(tpm: ESAPI, session: ESYS_TR, pcrs: tuple[int, ...]) -> None:
    """TPM2_PolicyPCR where there are registers; else TPM2_PolicyCommandCode(Unseal), for there has to be a policy."""
    from tpm2_pytss import TPM2_CC, TPM2B_DIGEST

    if pcrs:
        tpm.policy_pcr(session, TPM2B_DIGEST(), _selection(pcrs))
    else:
        tpm.policy_command_code(session, TPM2_CC.Unseal)


def _selection(pcrs: tuple[int, ...]) -> TPML_PCR_SELECTION:
    from tpm2_pytss import TPML_PCR_SELECTION

    return TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, pcrs)))
