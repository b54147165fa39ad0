"""`edgeroot doctor` finds the genuine swtpm and SoftHSM, and what it says to configure is a configuration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.service import running_service
from tests.support.softhsm import PIN, softhsm
from tests.support.swtpm import running_swtpm

EDGEROOT = str(Path(sys.executable).with_name("edgeroot"))


def doctor(**environment: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [EDGEROOT, "doctor", "--no-keys", "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


def section(finding: dict[str, Any]) -> str:
    """The lines of the configuration in a finding's advice."""
    return "\n".join(finding["fix"].splitlines()[1:]).replace('"NAME"', '"kim"') + "\n"


def test_a_tpm_is_found_and_its_section_works(tmp_path: Path) -> None:
    with running_swtpm(tmp_path / "tpm") as tpm:
        [answers, unprovisioned] = [one for one in doctor(TPM2TOOLS_TCTI=tpm.tcti) if one["check"] == "TPM"]
        assert answers["level"] == "ok"
        assert re.search(r"RSA (\d+ )*2048.*curves of (\d+ )*256 384", answers["message"])
        assert "tpm2_evictcontrol" in unprovisioned["fix"]
        with running_service(provider=section(answers)) as service, service.client() as client:
            assert client.list_providers()[0].id == 3


def test_a_tpm_that_does_not_answer_is_named() -> None:
    [finding] = [one for one in doctor(TPM2TOOLS_TCTI="swtpm:host=127.0.0.1,port=1") if one["check"] == "TPM"]
    assert finding["level"] == "warning"
    assert "port=1 cannot be used" in finding["message"]


def test_a_token_is_found_and_its_section_works(tmp_path: Path) -> None:
    with softhsm() as hsm:
        found = [one for one in doctor(SOFTHSM2_CONF=str(hsm.config_path)) if one["check"] == "PKCS#11"]
        [token] = [one for one in found if "edgeroot-test" in one["message"]]
        assert token["level"] == "ok"
        assert "ECDSA" in token["message"]
        pin = tmp_path / "pin"
        pin.write_text(PIN)
        pin.chmod(0o600)
        table = section(token).replace("/etc/edgeroot/pin", str(pin))
        with running_service(provider=table) as service, service.client() as client:
            assert client.list_providers()[0].id == 2
        assert any("is not initialised" in one["message"] for one in found) or len(found) == 1
