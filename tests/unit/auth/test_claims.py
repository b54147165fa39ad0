from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.auth import AuthenticationError, KubernetesSettings, TokenSettings
from edgeroot.auth.claims import Pod, ServiceAccount, judge_service_account, judge_workload
from edgeroot.auth.spiffe_id import is_trust_domain, read_spiffe_id
from tests.support.tokens import ISSUER, Issuer

NOW_S = 1_800_000_000.0
SETTINGS = TokenSettings(clock_skew_s=5, kubernetes=KubernetesSettings(issuer=ISSUER))
NO_POD_NEEDED = TokenSettings(kubernetes=KubernetesSettings(issuer=ISSUER, require_pod=False))
Claims = dict[str, Any]


def claims(name: str = "shop/till", *, pod: str | None = "till-0") -> Claims:
    return Issuer().service_account_claims(name, pod=pod, since_s=NOW_S)


def svid_claims(subject: object = "spiffe://example.org/till") -> Claims:
    return {"sub": subject, "aud": ["parsec"], "exp": NOW_S + 300}


def judge(found: Claims, now_s: float = NOW_S, settings: TokenSettings = SETTINGS) -> ServiceAccount:
    return judge_service_account(found, settings, now_s)


def refusal(found: Claims, now_s: float = NOW_S, settings: TokenSettings = SETTINGS) -> str:
    with pytest.raises(AuthenticationError) as refused:
        judge(found, now_s, settings)
    return str(refused.value)


def test_a_service_account_is_read_with_its_pod() -> None:
    account = judge(claims())

    assert account == ServiceAccount(
        "shop", "till", "uid-of-shop/till", Pod("shop", "till-0", "uid-of-till-0"), NOW_S + 600
    )
    assert account.username == "system:serviceaccount:shop:till"
    assert account.application("edge.example") == "spiffe://edge.example/ns/shop/sa/till"


def test_the_name_of_an_application_is_a_spiffe_id() -> None:
    name = judge(claims("a-1/b.c-2.d")).application("cluster.local")

    assert str(read_spiffe_id(name)) == name


def test_a_token_without_a_pod_is_taken_where_settings_say_so() -> None:
    assert "bound to no pod" in refusal(claims(pod=None))
    assert judge(claims(pod=None), settings=NO_POD_NEEDED).pod is None


@pytest.mark.parametrize(
    "issuer",
    ["", "https://attacker.example", ISSUER + "/", ISSUER.upper(), None, 7, [ISSUER], "kubernetes/serviceaccount"],
)
def test_another_issuers_token_is_refused(issuer: object) -> None:
    assert "not trusted" in refusal({**claims(), "iss": issuer})


def test_without_a_table_for_kubernetes_no_issuer_is_trusted() -> None:
    assert "not trusted" in refusal(claims(), settings=TokenSettings())


@pytest.mark.parametrize("audience", ["parsec", ["parsec"], ["api", "parsec"]])
def test_we_have_to_be_among_the_audience(audience: object) -> None:
    assert judge({**claims(), "aud": audience}).name == "till"


@pytest.mark.parametrize("audience", ["api", ["api"], [], "Parsec", "parsec ", "xparsec", ISSUER])
def test_a_token_for_others_is_refused(audience: object) -> None:
    assert "for others" in refusal({**claims(), "aud": audience})


@pytest.mark.parametrize("audience", [None, 7, {"parsec": 1}, ["parsec", 7], [["parsec"]], ["parsec"] * 65, True])
def test_an_audience_that_is_no_text_is_refused(audience: object) -> None:
    assert "for whom" in refusal({**claims(), "aud": audience})


def test_a_token_is_good_until_it_expires_and_the_clocks_may_differ_a_little() -> None:
    for now_s in (NOW_S - 5, NOW_S, NOW_S + 600, NOW_S + 604.9):
        assert judge(claims(), now_s).expires_at_s == NOW_S + 600
    assert "expired 5 s ago" in refusal(claims(), NOW_S + 605)
    assert "expired 86400 s ago" in refusal(claims(), NOW_S + 600 + 86400)
    assert "from the future" in refusal(claims(), NOW_S - 5.1)


def test_a_token_that_is_not_yet_valid_is_refused() -> None:
    assert "(nbf)" in refusal({**claims(), "nbf": NOW_S + 10})


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_a_token_without_its_times_is_refused(name: str) -> None:
    found = claims()
    del found[name]

    assert f"({name})" in refusal(found)


@pytest.mark.parametrize("value", [None, "1800000600", True, [], {}])
@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_a_time_that_is_no_number_is_refused(name: str, value: object) -> None:
    assert f"{name} is no number" in refusal({**claims(), name: value})


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), 10**400, -(10**400), 2**53 + 2])
@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_a_number_that_is_no_time_is_refused(name: str, value: float) -> None:
    assert f"{name} is no time" in refusal({**claims(), name: value})


def test_a_fraction_of_a_second_is_a_time() -> None:
    assert judge({**claims(), "exp": NOW_S + 300.5}).expires_at_s == NOW_S + 300.5


def test_a_life_is_bounded() -> None:
    assert "lives for 601 s" in refusal({**claims(), "exp": NOW_S + 601})
    assert "lives for 3600 s" in refusal({**claims(), "iat": NOW_S - 3000, "exp": NOW_S + 600})
    assert "when it was issued" in refusal({**claims(), "iat": NOW_S + 1, "exp": NOW_S + 1})


@pytest.mark.parametrize(
    "subject",
    [
        None,
        7,
        "",
        "till",
        "system:serviceaccount:",
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:",
        "system:serviceaccount::till",
        "system:serviceaccount:shop:till:0",
        "system:serviceaccount:shop:Till",
        "system:serviceaccount:shop:till/../../bank/sa/vault",
        "system:serviceaccount:shop/sa:till",
        "system:serviceaccount:sh.op:till",
        "system:serviceaccount:shop:till\n",
        "system:serviceaccount:shop:-till",
        "system:serviceaccount:shop:till-",
        "system:serviceaccount:shop:ti..ll",
        "system:serviceaccount:" + "s" * 64 + ":till",
        "system:serviceaccount:shop:" + ".".join(["t" * 60] * 5),
        "system:node:edge-1",
        "spiffe://cluster.local/ns/shop/sa/till",
    ],
)
def test_a_subject_that_is_no_service_account_is_refused(subject: object) -> None:
    assert "no service account" in refusal({**claims(), "sub": subject})


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["kubernetes.io"].update(namespace="bank"),
        lambda found: found["kubernetes.io"]["serviceaccount"].update(name="vault"),
        lambda found: found.update(sub="system:serviceaccount:bank:till"),
        lambda found: found.update(sub="system:serviceaccount:shop:vault"),
        lambda found: found["kubernetes.io"].pop("namespace"),
    ],
)
def test_what_is_said_twice_has_to_agree(change: Callable[[Claims], object]) -> None:
    found = claims()
    change(found)

    assert "different service accounts" in refusal(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("kubernetes.io"),
        lambda found: found.update({"kubernetes.io": []}),
        lambda found: found["kubernetes.io"].pop("serviceaccount"),
        lambda found: found["kubernetes.io"].update(serviceaccount="till"),
        lambda found: found["kubernetes.io"]["serviceaccount"].pop("uid"),
        lambda found: found["kubernetes.io"]["serviceaccount"].update(uid=""),
        lambda found: found["kubernetes.io"].update(pod=None),
        lambda found: found["kubernetes.io"].update(pod={}),
        lambda found: found["kubernetes.io"].update(pod={"name": "till-0"}),
        lambda found: found["kubernetes.io"].update(pod={"name": "", "uid": "x"}),
        lambda found: found["kubernetes.io"].update(pod={"name": "../till", "uid": "x"}),
        lambda found: found["kubernetes.io"].update(pod={"name": "till-0", "uid": 7}),
    ],
)
def test_a_binding_that_is_not_whole_is_refused_even_where_no_pod_is_needed(
    change: Callable[[Claims], object],
) -> None:
    found = claims()
    change(found)

    assert refusal(found, settings=NO_POD_NEEDED)


def test_a_workload_is_its_spiffe_id() -> None:
    workload = judge_workload(svid_claims(), SETTINGS, NOW_S)

    assert str(workload.spiffe_id) == "spiffe://example.org/till"
    assert (workload.spiffe_id.trust_domain, workload.expires_at_s) == ("example.org", NOW_S + 300)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"aud": "api"}, "for others"),
        ({"aud": []}, "for others"),
        ({"exp": NOW_S - 6}, "expired"),
        ({"exp": None}, "no number"),
        ({"nbf": NOW_S + 60}, "future"),
        ({"iat": NOW_S + 60}, "future"),
        ({"sub": None}, "names no subject"),
        ({"sub": "system:serviceaccount:shop:till"}, "no SPIFFE ID"),
    ],
)
def test_a_workloads_token_is_judged_as_the_standard_says(change: Claims, words: str) -> None:
    with pytest.raises(AuthenticationError, match=words):
        judge_workload({**svid_claims(), **change}, SETTINGS, NOW_S)


@pytest.mark.parametrize("path", ["", "/till", "/ns/shop/sa/till", "/a-b_c.D/9", "/...", "/.hidden"])
def test_a_spiffe_id_stays_as_it_is(path: str) -> None:
    text = f"spiffe://example.org{path}"

    assert str(read_spiffe_id(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "till",
        "spiffe:/example.org/till",
        "spiffe://",
        "spiffe:///till",
        "SPIFFE://example.org/till",
        "https://example.org/till",
        "spiffe://Example.org/till",
        "spiffe://user@example.org/till",
        "spiffe://example.org:8443/till",
        "spiffe://example.org/",
        "spiffe://example.org/till/",
        "spiffe://example.org//till",
        "spiffe://example.org/./till",
        "spiffe://example.org/../till",
        "spiffe://example.org/till/..",
        "spiffe://example.org/t%69ll",
        "spiffe://example.org/till?a",
        "spiffe://example.org/till#a",
        "spiffe://example.org/till ",
        "spiffe://example.org/till\n",
        "spiffe://example.org/tïll",
        "spiffe://exämple.org/till",
        "spiffe://" + "a" * 256 + "/till",
        "spiffe://example.org/" + "a" * 2048,
    ],
)
def test_what_is_not_spelt_like_a_spiffe_id_is_refused(text: str) -> None:
    with pytest.raises(AuthenticationError):
        read_spiffe_id(text)


@given(st.text("spife:/.-_aZ0% ?#@", max_size=40))
def test_a_spiffe_id_has_one_spelling(text: str) -> None:
    for tried in (text, "spiffe://" + text, "spiffe://a/" + text):
        try:
            found = read_spiffe_id(tried)
        except AuthenticationError:
            continue
        assert str(found) == tried
        assert is_trust_domain(found.trust_domain)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "kubernetes.io"]), JSON)
def test_any_claim_may_be_anything_and_no_other_error_comes(name: str, value: object) -> None:
    for found, judged in ((claims(), judge_service_account), (svid_claims(), judge_workload)):
        words = ""
        try:
            judged({**found, name: value}, SETTINGS, NOW_S)
        except AuthenticationError as refused:
            words = str(refused)
        assert words.isprintable()
