from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from edgeroot.edge.agent.verdict import Verdict, VerdictError, one_line, read_verdict


def result(**claims: object) -> str:
    body = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def submodule(status: str, *checks: tuple[bool, str]) -> dict[str, Any]:
    said = [{"check": "component", "passed": passed, "words": words} for passed, words in checks]
    return {"ear.status": status, "ear.veraison.policy-claims": {"checks": said}}


def test_what_a_result_says() -> None:
    good = read_verdict(result(iat=1_000, exp=2_800, submods={"PSA_IOT": submodule("affirming", (True, "known"))}))
    assert good == Verdict(status="affirming", lifetime_s=1_800)
    assert good.is_affirming
    assert good.words() == "affirming"
    bad = read_verdict(
        result(iat=1, submods={"PSA_IOT": submodule("contraindicated", (True, "known"), (False, "BL was changed"))})
    )
    assert (bad.is_affirming, bad.lifetime_s) == (False, None)
    assert bad.words() == "contraindicated: BL was changed"


def test_one_bad_submodule_is_enough_and_strangers_give_no_reasons() -> None:
    read = read_verdict(result(submods={"A": {"ear.status": "affirming"}, "B": {"ear.status": "warning"}}))
    assert (read.status, read.reason) == ("warning", "")


def test_words_of_others_steer_no_terminal() -> None:
    read = read_verdict(result(submods={"A": submodule("war\x1b[2Jning", (False, "a\nb\x07" + "x" * 5_000))}))
    assert read.status == "war?[2Jning"
    assert read.reason.startswith("a b?x")
    assert len(read.reason) == 300
    assert one_line("a  b\tc") == "a b c"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no token",
        "a.b.c",
        "e30.e30.c2ln",
        "..",
        f"e30.{'A' * 100_000}.c2ln",
        result(submods={}),
        result(submods=[]),
        result(submods={"A": {}}),
        result(submods={"A": "affirming"}),
        result(submods={"A": {"ear.status": "affirming", "ear.veraison.policy-claims": 7}}),
        result(submods={"A": {"ear.status": "affirming"}}, exp="soon", iat=1),
        result(submods={"A": {"ear.status": "affirming"}}, exp=5),
    ],
)
def test_what_is_no_result(text: str) -> None:
    with pytest.raises(VerdictError):
        read_verdict(text)
