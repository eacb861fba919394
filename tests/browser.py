"""Headless Chromium for tests of pages: Debian's packages chromium and chromium-driver, which .ci/run installs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--autoplay-policy=no-user-gesture-required",
)
_PATIENCE_S = 20.0


class Page:
    """A page in a browser.

    Args:
        driver: of the browser.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def asks(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        return self.driver.execute_script(f"return {script}")

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.asks(f"document.querySelector('{selector}').innerText"))

    def press(self, *keys: str) -> None:
        """Presses keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def becomes(self, script: str) -> None:
        """Waits until an expression is true."""
        wait_until(lambda: bool(self.asks(script)), script)

    def complaints(self) -> list[str]:
        """What the browser's console holds."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]


@contextmanager
def opened(path: Path, profile: Path, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A file in a browser of its own, with a window of a size in CSS pixels."""
    binary, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not service:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(service))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(path.resolve().as_uri())
        yield Page(driver)
    finally:
        driver.quit()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits until a condition holds; fails with `what` after a while."""
    end_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"not in {_PATIENCE_S} s: {what}"
        time.sleep(0.05)
