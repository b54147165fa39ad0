"""A counter in a TPM's memory, which nobody can set back (TPM 2.0 Library, Part 1, clause 37.2.4).

Whoever has the owner hierarchy can remove it; one that is made anew begins above every counter that the TPM ever had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeroot.sealing.tpm_connection import connected, handles

if TYPE_CHECKING:
    from tpm2_pytss import ESAPI

INDEX: Final = 0x01804544
"""Ours, in the owner's range (TCG Registry of Reserved TPM 2.0 Handles and Localities, clause 2.2.2)."""
_BYTES: Final = 8
_NEVER_WRITTEN: Final = 0x14A  # TPM_RC_NV_UNINITIALIZED
_ADVICE: Final = {
    0x02F: "the TPM lets nobody count without the owner's authorisation: have its owner make the counter",  # BAD_AUTH
}


class TpmCounter:
    """The counter. Every method raises SealingError if the TPM cannot be used."""

    def __init__(self, tcti: str, index: int = INDEX) -> None:
        self._tcti = tcti
        self._index = index

    def read(self) -> int | None:
        """The value, None if there is no counter."""
        with connected(self._tcti, advice=_ADVICE) as tpm:
            return self._value(tpm) if self._index in handles(tpm, self._index) else None

    def increment(self) -> int:
        """Count one up, after making the counter if there is none; the new value."""
        from tpm2_pytss import TPM2_ALG, TPM2_NT, TPM2B_AUTH, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC

        with connected(self._tcti, advice=_ADVICE) as tpm:
            if self._index not in handles(tpm, self._index):
                # Anybody who can open the TPM may count: that can be noticed, and undoes nothing.
                attributes = TPMA_NV.OWNERWRITE | TPMA_NV.OWNERREAD | TPMA_NV.AUTHWRITE | TPMA_NV.AUTHREAD
                attributes |= TPMA_NV.NO_DA | TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT
                public = TPMS_NV_PUBLIC(
                    nvIndex=self._index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=_BYTES
                )
                tpm.nv_define_space(TPM2B_AUTH(), TPM2B_NV_PUBLIC(public))
            index = tpm.tr_from_tpmpublic(self._index)
            tpm.nv_increment(index, index)
            return self._value(tpm)

    def _value(self, tpm: ESAPI) -> int:
        from tpm2_pytss import TSS2_Exception

        index = tpm.tr_from_tpmpublic(self._index)
        try:
            return int.from_bytes(bytes(tpm.nv_read(index, _BYTES, 0, index)))
        except TSS2_Exception as error:
            if error.rc & 0xFFF == _NEVER_WRITTEN:
                return 0
            raise
