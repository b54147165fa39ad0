"""The verifier's page in a genuine browser, over a verifier that judged genuine evidence of a small fleet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from edgeroot.evidence import SoftwareComponent, write_tpm_evidence
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, write_corim
from tests.support.browser import DESKTOP, PHONE, Browser, open_browser
from tests.support.fleet import (
    CORIM_TYPE,
    GATEWAY,
    NOBODY,
    SENSOR,
    FleetDevice,
    FleetMaker,
    component,
    firmware,
    made_fleet,
    measured,
    references,
)
from tests.unit.evidence.test_tpm_evidence import NAME, PCR_4, QUALIFYING, QUOTE

QUOTE_TYPE: Final = "application/vnd.edgeroot.tpm-evidence+cbor"
TPM_KIND: Final = b"gateway with a TPM"
EVIL: Final = """<img src=x onerror="window.owned=1"><script>window.owned=1</script>'"\u202egnp"""
EVIL_CRYPTO: Final = measured("evil")
WAIT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Devices:
    """One of each kind."""

    good: FleetDevice
    behind: FleetDevice
    warned: FleetDevice
    changed: FleetDevice
    evil: FleetDevice
    old: FleetDevice
    silent: FleetDevice


def fill(maker: FleetMaker) -> Devices:
    """4 affirmed, 1 warned, 2 contraindicated, 1 without a verdict, 2 not seen."""
    one = Devices(*(FleetDevice() for _ in range(7)))
    sensors = [FleetDevice(implementation_id=SENSOR) for _ in range(2)]
    boot = component("BL", "2.0.1")
    known = {GATEWAY: references([*firmware("1.4.0"), *firmware("1.5.0")]), SENSOR: references([boot])}
    maker.endorse(*sensors, one.good, one.behind, one.warned, one.changed, one.evil, one.old, one.silent, known=known)
    now_s, good = maker.now_s, firmware("1.5.0")
    changed = [replace(part, measurement=EVIL_CRYPTO) if part.measurement_type == "crypto" else part for part in good]
    unsigned = SoftwareComponent(measurement=measured("tree"), signer_id=NOBODY, measurement_type="device-tree")
    for ago_s in (7_200, 3_600):
        maker.attest(one.changed, good, at_s=now_s - ago_s)
    maker.attest(one.good, good, at_s=now_s - 500)
    maker.attest(one.behind, firmware("1.4.0"), at_s=now_s - 600)
    maker.attest(one.warned, [*good, unsigned], at_s=now_s - 700)
    maker.attest(one.changed, changed, at_s=now_s - 60)
    maker.attest(one.evil, [*good, replace(component("x", EVIL), measurement_type=EVIL)], at_s=now_s - 90)
    maker.attest(one.old, good, at_s=now_s - 90_000)
    for sensor in sensors:
        maker.attest(sensor, [boot], at_s=now_s - 800)
    _quote(maker)
    return one


def _quote(maker: FleetMaker) -> None:
    """A device with a TPM of whose configuration nobody says anything: there is no verdict."""
    key = VerificationKey(
        implementation_id=TPM_KIND, instance_id=NAME, key=ec.generate_private_key(ec.SECP256R1()).public_key()
    )
    values = {ReferenceValue(measurement=PCR_4, signer_id=b"", name="PCR 4", version="1.0")}
    desk = maker.desk()
    corim = write_corim("a TPM", Endorsements(keys={NAME: key}, references={TPM_KIND: values}))
    desk.provision(CORIM_TYPE, corim, who="factory")
    session = desk.new_session(nonce=QUALIFYING)
    desk.submit(session.session_id, QUOTE_TYPE, write_tpm_evidence(QUOTE))


@dataclass(frozen=True, slots=True)
class Served:
    """A verifier that runs, its folder, and what it knows."""

    url: str
    folder: Path
    devices: Devices
    token: str


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "edgeroot", "verifier", "serve", "--store", "fleet.db", "--port", "0"]
    with subprocess.Popen(
        [*command, "--sign", "sign.pem", *options], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("verifier")
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "sign.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    token = os.urandom(32).hex()
    (folder / "viewer").write_text(token)
    with made_fleet(folder / "fleet.db", int(time.time())) as maker:
        devices = fill(maker)
    with serving(folder, "--viewer-token-file", "viewer") as url:
        yield Served(url, folder, devices, token)


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with open_browser() as one:
        yield one


class Page:
    """The page in the window, with the viewer's token."""

    def __init__(self, browser: Browser, served: Served) -> None:
        self.browser, self.served = browser, served
        self.driver = browser.driver
        self.wait = WebDriverWait(self.driver, WAIT_S, poll_frequency=0.02)

    def show(self, place: str) -> None:
        """Another place in the page, once its answers are there."""
        self.browser.run("document.getElementById('main').replaceChildren(); location.hash = arguments[0];", place)
        self.ready()

    def ready(self) -> None:
        script = "return !document.querySelector('main[aria-busy]') && document.querySelector('main h1') !== null"
        self.wait.until(lambda _driver: self.browser.run(script))

    def all(self, selector: str) -> list[str]:
        """The texts of what is shown."""
        script = """
            const shown = [...document.querySelectorAll(arguments[0])].filter(one => one.checkVisibility());
            return shown.map(one => one.innerText.trim());
        """
        found: list[str] = self.browser.run(script, selector)
        return found

    def counts(self, selector: str) -> dict[str, str]:
        """Of those below the selector, by what they count."""
        script = """
            const shown = [...document.querySelectorAll(arguments[0])];
            return Object.fromEntries(shown.map(one => [one.dataset.count, one.textContent]));
        """
        found: dict[str, str] = self.browser.run(script, f"{selector} [data-count]")
        return found

    def badges(self, words: set[str]) -> None:
        """Wait until the list has no others."""
        self.wait.until(lambda _driver: set(self.all("tbody .badge")) == words)

    def rows(self, number: int) -> None:
        """Wait until the list has so many."""
        self.wait.until(lambda _driver: len(self.all("tbody tr")) == number)

    def one(self, selector: str) -> str:
        (found,) = self.all(selector)
        return found

    def click(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        return str(self.browser.run("return document.activeElement?.dataset?.key ?? document.activeElement.tagName"))

    def device(self, one: FleetDevice) -> None:
        self.show(f"#/device/{one.instance_id.hex()}")

    @property
    def places(self) -> list[str]:
        changed, evil = (one.instance_id.hex() for one in (self.served.devices.changed, self.served.devices.evil))
        return ["#/", f"#/device/{changed}", f"#/device/{evil}", f"#/device/{NAME.hex()}", "#/rollout", "#/nowhere"]


@pytest.fixture
def page(window: Browser, served: Served) -> Iterator[Page]:
    one = Page(window, served)
    window.resize(DESKTOP)
    window.prefer("light")
    window.driver.get(f"{served.url}/icon.svg")
    window.run("sessionStorage.setItem('edgeroot.viewer-token', arguments[0])", served.token)
    window.requests()
    window.complaints()
    window.driver.get(f"{served.url}/")
    one.ready()
    yield one
    assert window.complaints() == []


def test_a_fleet_at_a_glance(page: Page) -> None:
    standing = {"affirming": "4", "warning": "1", "contraindicated": "2", "none": "1", "not-seen": "2"}
    assert page.counts(".tiles") == standing
    assert page.one(".title p").startswith("10 devices endorsed. A result counts for 24 hours")
    page.rows(10)
    words = {"warning": ("Warned", 1), "contraindicated": ("Contraindicated", 2), "not-seen": ("Not seen", 2)}
    for status, (word, number) in words.items():
        page.click(f".tile.{status}")
        page.badges({word})
        page.rows(number)
        assert page.browser.run("return location.hash") == f"#/?status={status}"
    page.driver.back()
    page.badges({"Contraindicated"})


def test_a_search(page: Page) -> None:
    name = page.served.devices.behind.instance_id.hex()
    page.click("#search")
    page.press(name[:12].upper(), Keys.ENTER)
    page.rows(1)
    assert page.browser.run("return document.querySelector('tbody tr').dataset.device") == name
    page.show("#/?search=xyz")
    assert "hexadecimal" in page.one(".notice")


def test_why_a_device_failed_and_what_of_it_was_changed(page: Page) -> None:
    page.device(page.served.devices.changed)
    assert page.one(".verdict strong") == "Contraindicated"
    assert page.one("#why h2") == "Why it is not trusted"
    assert page.one("#why .check-words") == f"crypto was changed, or is signed by another: {EVIL_CRYPTO.hex()}"
    words = {name: page.one(f"[data-component='{name}'] .badge") for name in ("kernel", "manager", "storage", "crypto")}
    assert words == {"kernel": "Matched", "manager": "Matched", "storage": "Matched", "crypto": "Not matched"}
    crypto = page.one(".stage.partition [data-component='crypto']")
    assert EVIL_CRYPTO.hex()[:12] in crypto
    assert "Known: 1.5.0" in crypto
    order = page.browser.run("return [...document.querySelectorAll('.node')].map(one => one.dataset.component)")
    assert order == [one.measurement_type for one in firmware("1.5.0")], "not in the order of the token"
    assert page.all(".stage h3") == ["Boot stage", "Partition manager", "Partitions"]


def test_a_devices_history(page: Page) -> None:
    page.device(page.served.devices.changed)
    assert page.all(".history tbody .badge") == ["Contraindicated", "Affirmed", "Affirmed"]
    page.click(".history tbody tr:last-child a")
    page.wait.until(lambda _driver: page.all(".standing strong") == ["Affirmed"])
    assert "a result of the past" in page.one(".notice")
    assert page.all("#why") == []
    page.click(".notice a")
    page.wait.until(lambda _driver: page.all(".standing strong") == ["Contraindicated"])


def test_devices_of_other_kinds(page: Page) -> None:
    page.device(page.served.devices.silent)
    assert page.one(".verdict").split("\n")[-1] == "It never attested."
    page.device(page.served.devices.old)
    assert "too old to count. It said: affirmed" in page.one(".verdict")
    page.show(f"#/device/{NAME.hex()}")
    assert page.one(".verdict strong") == "No verdict"
    assert page.one(".registers h4") == "PCR 4"
    page.show(f"#/device/{'ab' * 33}")
    assert page.one(".notice") == "no such device is endorsed"


def test_the_roll_out(page: Page) -> None:
    page.show("#/rollout")
    card = f"[data-implementation='{GATEWAY.hex()}']"
    progress = page.counts(f"{card} .legend")
    assert progress == {"current": "2", "behind": "1", "unknown": "3", "unreported": "1", "failed": "2"}
    row = f"{card} tr[data-component='crypto']"
    assert page.all(f"{row} td:nth-child(2)") == ["1.5.0", "1.4.0", "1.5.0"]
    assert page.all(f"{row} .tag") == ["Newest", "Behind", "Not known"]
    assert page.all(f"{row} .number") == ["4", "1", "1"]
    page.click(f"{card} .legend .behind a")
    page.rows(1)
    behind = page.served.devices.behind.instance_id.hex()
    assert page.browser.run("return document.querySelector('tbody tr').dataset.device") == behind


def test_what_a_device_says_is_text_and_nothing_else(page: Page) -> None:
    for place in page.places:
        page.show(place)
        assert page.browser.run("return window.owned ?? null") is None
        assert page.browser.run("return document.querySelectorAll('main img, main script, main iframe').length") == 0
    page.device(page.served.devices.evil)
    assert page.all(".node h4")[-1] == EVIL.replace("\u202e", "\\u{202e}")
    refused = """
        try { document.body.insertAdjacentHTML('beforeend', '<b>'); return 'taken' } catch (error) { return error.name }
    """
    assert page.browser.run(refused) == "TypeError", "the page could parse text as HTML"
    page.browser.complaints()  # which tell of this try


def test_nothing_is_asked_of_anybody_else(page: Page) -> None:
    for place in page.places:
        page.show(place)
    asked = page.browser.requests()
    assert any(one.startswith(f"{page.served.url}/fleet/v1/rollout") for one in asked)
    assert [one for one in asked if not one.startswith(f"{page.served.url}/")] == []
    assert not any(page.served.token in one for one in asked)


def test_a_phone_shows_everything_without_scrolling_sideways(page: Page) -> None:
    page.browser.resize(PHONE)
    wide = """
        const out = [...document.querySelectorAll('body *')].filter(one => !one.closest('.unseen, .skip, thead'))
            .filter(one => one.getBoundingClientRect().right > 360.5).map(one => one.outerHTML.slice(0, 120));
        return [document.documentElement.scrollWidth, out];
    """
    for place in page.places:
        page.show(place)
        for summary in page.driver.find_elements(By.CSS_SELECTOR, "main summary"):
            page.browser.run("arguments[0].parentElement.open = true", summary)
        assert page.browser.run(wide) == [PHONE[0], []], place


def test_everything_can_be_reached_and_used_by_keys(page: Page) -> None:
    page.browser.run("document.activeElement.blur()")
    visited = []
    for _ in range(60):
        page.press(Keys.TAB)
        visited.append(page.browser.run(SEEN))
        if visited[-1]["last"]:
            break
    everything = page.browser.run(
        "return [...document.querySelectorAll(arguments[0])].map(one => one.outerHTML)", USABLE
    )
    assert [one["html"] for one in visited] == everything
    assert all(one["visible"] for one in visited), "the focus of something cannot be seen"
    assert "Skip to content" in everything[0]
    name = page.served.devices.changed.instance_id.hex()
    page.browser.run("document.querySelector(arguments[0]).focus()", f"[data-key='device-{name}']")
    page.press(Keys.ENTER)
    page.wait.until(lambda _driver: page.all("#why"))
    assert page.focused() == "H1"
    page.browser.run("document.querySelector('[data-key=all-checks]').focus()")
    page.press(Keys.ENTER)
    page.wait.until(lambda _driver: len(page.all(".all-checks .check")) > 10)


USABLE: Final = "a[href], button:not([hidden]), input, summary"
SEEN: Final = f"""
    const one = document.activeElement, style = getComputedStyle(one);
    const all = document.querySelectorAll("{USABLE}");
    return {{
        html: one.outerHTML,
        last: one === all[all.length - 1],
        visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    }};
"""


def test_new_results_are_shown_and_said_and_focus_stays(page: Page) -> None:
    page.browser.run("document.getElementById('search').focus()")
    page.press("01ab")
    with made_fleet(page.served.folder / "fleet.db", int(time.time())) as maker:
        maker._count = 1_000
        maker.attest(page.served.devices.silent, firmware("1.5.0"), at_s=maker.now_s)
    page.browser.run("document.getElementById('refresh').dispatchEvent(new Event('click'))")
    page.wait.until(lambda _driver: page.counts(".tiles").get("affirming") == "5")
    assert page.browser.run("return document.getElementById('announce').textContent").startswith("Something changed.")
    assert page.focused() == "search"
    assert page.browser.run("return document.getElementById('search').value") == "01ab"


def test_a_wrong_token_is_said_and_the_right_one_is_asked_for_once(page: Page) -> None:
    page.click("#forget")
    page.wait.until(lambda _driver: page.all("#token"))
    assert page.browser.run("return document.activeElement.id") == "token"
    assert page.all(".gate [role=alert]") == []
    page.press("w" * 32, Keys.ENTER)
    page.wait.until(lambda _driver: any("does not accept this token" in one for one in page.all("#token-words")))
    assert page.browser.run("return sessionStorage.length") == 0
    page.press(page.served.token, Keys.ENTER)
    page.wait.until(lambda _driver: page.all(".tiles"))
    page.driver.refresh()
    page.ready()
    assert len(page.all(".tile")) == 5
    assert page.browser.run("return localStorage.length + document.cookie.length") == 0


CONTRAST: Final = """
    const style = getComputedStyle(document.documentElement);
    const light = (name) => {
        const digits = style.getPropertyValue(name).trim().slice(1);
        const part = (at) => parseInt(digits.slice(at, at + 2), 16) / 255;
        const [r, g, b] = [0, 2, 4].map(part).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
        const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const found = {};
    for (const ink of ["text", "quiet", "accent", "affirming", "warning", "contraindicated", "none", "not-seen"])
        for (const ground of ["ground", "surface", "sunken", `${ink}-soft`])
            if (style.getPropertyValue(`--${ground}`)) found[`${ink} on ${ground}`] = ratio(`--${ink}`, `--${ground}`);
    return [getComputedStyle(document.body).backgroundColor, found];
"""


def test_both_colour_schemes_can_be_read(page: Page) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        page.browser.prefer(scheme)
        ground, ratios = page.browser.run(CONTRAST)
        grounds.add(ground)
        weak: dict[str, Any] = {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5}
        assert weak == {}, scheme  # WCAG 2.2, success criterion 1.4.3
        assert len(ratios) > 24
    assert len(grounds) == 2


def get(url: str, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    return answer.status, said


def test_without_a_viewers_token_it_is_for_this_machine(served: Served) -> None:
    with serving(served.folder, "--seen-within", "0.5") as url:
        status, said = get(url, "/fleet/v1/summary")
        assert (status, '"window_s": 1800' in said) == (200, True)
        status, said = get(url, "/fleet/v1/summary", Host="rebound.example")
        assert (status, "--viewer-token-file" in said) == (403, True)


def test_one_token_is_not_for_both(served: Served) -> None:
    command = [sys.executable, "-m", "edgeroot", "verifier", "serve", "--store", "fleet.db", "--sign", "sign.pem"]
    both = ("--viewer-token-file", "viewer", "--provisioning-token-file", "viewer")
    done = subprocess.run([*command, *both], cwd=served.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, "could hand in CoRIMs" in done.stderr) == (1, True)
