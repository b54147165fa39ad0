"""The counter in the genuine swtpm's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.sealing.errors import SealingError
from edgeroot.sealing.tpm_counter import TpmCounter
from tests.support.swtpm import running_swtpm


def test_it_counts_for_ever(tmp_path: Path) -> None:
    with running_swtpm(tmp_path / "tpm") as tpm:
        counter = TpmCounter(tpm.tcti)
        assert counter.read() is None
        first = counter.increment()
        assert [counter.increment(), counter.read()] == [first + 1, first + 1]
        tpm.restart()
        assert TpmCounter(tpm.tcti).read() == first + 1
        assert counter.increment() == first + 2
        assert TpmCounter(tpm.tcti, 0x01804545).read() is None


def test_one_that_is_removed_and_made_anew_is_never_lower(tmp_path: Path) -> None:
    from tpm2_pytss import ESAPI, ESYS_TR

    with running_swtpm(tmp_path / "tpm") as tpm:
        counter = TpmCounter(tpm.tcti)
        highest = max(counter.increment() for _ in range(5))
        with ESAPI(tpm.tcti) as esys:
            esys.nv_undefine_space(esys.tr_from_tpmpublic(0x01804544), ESYS_TR.OWNER)
        assert counter.read() is None
        assert counter.increment() > highest


def test_a_tpm_that_is_not_there_is_named() -> None:
    with pytest.raises(SealingError, match="port=1 cannot be used"):
        TpmCounter("swtpm:host=127.0.0.1,port=1").read()
