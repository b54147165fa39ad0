"""The way to a TPM, over the TSS's Enhanced System API: what needs no session, for nothing in it is secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from tpm2_pytss import ESAPI, TCTILdr, TSS2_Exception
from tpm2_pytss.constants import TPM2_ALG, TPM2_CAP, TPM2_SU, TPMA_NV
from tpm2_pytss.types import TPML_PCR_SELECTION, TPMT_PUBLIC_PARMS

from edgeroot.evidence.tpm_attest import PcrSelection
from edgeroot.providers.tpm.connection import Connection
from edgeroot.providers.tpm.errors import CONNECTING, INITIALIZE, TpmError, tpm_error
from edgeroot.psa import PsaStatus

_MANY: Final = 256
_PCRS_AT_ONCE: Final = 8  # as many as a TPML_DIGEST holds (Part 2, clause 10.9.5)
_NV_BUFFER: Final = 0x12C  # TPM_PT_NV_BUFFER_MAX
_NV_READABLE: Final = TPMA_NV.AUTHREAD | TPMA_NV.NO_DA | TPMA_NV.WRITTEN
_COMMAND_CODE: Final = 0x2000FFFF  # the number in a TPMA_CC, and whether it is a vendor's
_ONE: Final = bytes((0, 0, 0, 1))  # the count at the head of a TPML_PCR_SELECTION


@contextmanager
def command(name: str) -> Iterator[None]:
    try:
        yield
    except TSS2_Exception as error:
        raise tpm_error(name, int(error.rc), str(error)) from error


def registers(selection: bytes) -> TPML_PCR_SELECTION:
    """One TPMS_PCR_SELECTION as the library has it."""
    return TPML_PCR_SELECTION.unmarshal(_ONE + selection)[0]


class PlainConnection(Connection):
    """What a connection is and tells. Its TCTI is named as ``tpm2_*`` tools name it: ``device:/dev/tpmrm0``."""

    def __init__(self, tcti: str) -> None:
        with command(CONNECTING):
            self._tcti = TCTILdr.parse(tcti)
            try:
                self._esys = ESAPI(self._tcti)
            except TSS2_Exception:
                self._tcti.close()
                raise

    def close(self) -> None:
        self._esys.close()
        self._tcti.close()

    def startup(self) -> None:
        try:
            with command("TPM2_Startup"):
                self._esys.startup(TPM2_SU.CLEAR)
        except TpmError as error:
            if error.error != INITIALIZE:  # which here says that it was started up before
                raise

    # What it is and has

    def algorithms(self) -> frozenset[int]:
        with command("TPM2_GetCapability"):
            _, found = self._esys.get_capability(TPM2_CAP.ALGS, 0, _MANY)
        rows = found.data.algorithms
        return frozenset(int(rows.algProperties[i].alg) for i in range(rows.count))

    def curves(self) -> frozenset[int]:
        with command("TPM2_GetCapability"):
            _, found = self._esys.get_capability(TPM2_CAP.ECC_CURVES, 0, _MANY)
        rows = found.data.eccCurves
        return frozenset(int(rows.eccCurves[i]) for i in range(rows.count))

    def commands(self) -> frozenset[int]:
        with command("TPM2_GetCapability"):
            _, found = self._esys.get_capability(TPM2_CAP.COMMANDS, 0, _MANY)
        rows = found.data.command
        return frozenset(int(rows.commandAttributes[i]) & _COMMAND_CODE for i in range(rows.count))

    def property(self, number: int) -> int:
        with command("TPM2_GetCapability"):
            _, found = self._esys.get_capability(TPM2_CAP.TPM_PROPERTIES, number, 1)
        rows = found.data.tpmProperties
        if rows.count and int(rows.tpmProperty[0].property) == number:
            return int(rows.tpmProperty[0].value)
        return 0

    def handles(self, first: int) -> tuple[int, ...]:
        with command("TPM2_GetCapability"):
            _, found = self._esys.get_capability(TPM2_CAP.HANDLES, first, _MANY)
        rows = found.data.handles
        return tuple(int(rows.handle[i]) for i in range(rows.count))

    def has_rsa(self, key_bits: int) -> bool:
        parameters = TPMT_PUBLIC_PARMS(type=TPM2_ALG.RSA)
        detail = parameters.parameters.rsaDetail
        detail.symmetric.algorithm = TPM2_ALG.NULL
        detail.scheme.scheme = TPM2_ALG.NULL
        detail.keyBits = key_bits
        return self._has(parameters)

    def has_aes(self, key_bits: int) -> bool:
        parameters = TPMT_PUBLIC_PARMS(type=TPM2_ALG.SYMCIPHER)
        detail = parameters.parameters.symDetail.sym
        detail.algorithm = TPM2_ALG.AES
        detail.keyBits.aes = key_bits
        detail.mode.aes = TPM2_ALG.NULL
        return self._has(parameters)

    def _has(self, parameters: TPMT_PUBLIC_PARMS) -> bool:
        try:
            with command("TPM2_TestParms"):
                self._esys.test_parms(parameters)
        except TpmError as error:
            if error.status in (PsaStatus.NOT_SUPPORTED, PsaStatus.INVALID_ARGUMENT):
                return False
            raise
        return True

    def pcr_banks(self) -> Mapping[int, bytes]:
        with command("TPM2_GetCapability"):
            _, found = self._esys.get_capability(TPM2_CAP.PCRS, 0, _MANY)
        rows = found.data.assignedPCR
        selections = [rows.pcrSelections[i] for i in range(rows.count)]
        banks = {int(one.hash): bytes(one.pcrSelect[0 : one.sizeofSelect]) for one in selections}
        return {bank: mask for bank, mask in banks.items() if any(mask)}

    def pcr_values(self, bank: int, indices: Sequence[int]) -> tuple[bytes, ...]:
        values: list[bytes] = []
        while len(values) < len(indices):
            some = indices[len(values) :][:_PCRS_AT_ONCE]
            with command("TPM2_PCR_Read"):
                _, _, digests = self._esys.pcr_read(registers(bytes(PcrSelection.of(bank, some))))
            if not digests.count:
                raise TpmError("TPM2_PCR_Read", 0, PsaStatus.COMMUNICATION_FAILURE, "the TPM does not read its PCRs")
            values += (bytes(digests[i]) for i in range(digests.count))
        return tuple(values)

    def nv_content(self, index: int) -> bytes:
        if index not in self.handles(index):
            return b""
        buffer_bytes = self.property(_NV_BUFFER)
        with command("TPM2_NV_Read"):
            found = self._esys.tr_from_tpmpublic(index)
            try:
                public, _ = self._esys.nv_read_public(found)
                size_bytes, content = int(public.nvPublic.dataSize), b""
                # An index that counts failures is none that everybody is to read, and must not be tried.
                if public.nvPublic.attributes & _NV_READABLE != _NV_READABLE:
                    return b""
                while len(content) < size_bytes:
                    part_bytes = min(size_bytes - len(content), buffer_bytes)
                    content += bytes(self._esys.nv_read(found, part_bytes, len(content), found))
                return content
            finally:
                self._esys.tr_close(found)
