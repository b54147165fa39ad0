"""A genuine browser without a screen, and what it saw."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.support.requirements import unavailable

Told: TypeAlias = Any
"""What a script returned: whatever JSON has."""
PHONE = (360, 740)
DESKTOP = (1280, 900)


class Browser:
    """A window of it. Sizes are in CSS pixels."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def resize(self, size: tuple[int, int]) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """The colour scheme, ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: object) -> Told:
        """What the script returns, in the page."""
        return self.driver.execute_script(script, *arguments)

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call, by whatever in the page."""
        messages = [json.loads(one["message"])["message"] for one in self._log("performance")]
        return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What the console was told since the last call, except that a request was refused."""
        said = [str(one["message"]) for one in self._log("browser")]
        return [one for one in said if "the server responded with a status of 4" not in one]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.driver.execute("getLog", {"type": kind})["value"]
        return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    binary, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver_path is None:
        unavailable("a browser and its driver (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # it has none for root
    for one in arguments:
        options.add_argument(one)
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
