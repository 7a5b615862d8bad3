"""Debian's Chromium without a window, driven by its own driver, and what it says about a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
SECONDS = 60.0
"""Longest wait for a page: the machine may have more to do than show it."""


def missing() -> list[str]:
    """The programs that this machine does not have."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """A browser at one hub. `folder` gets a picture of each page that was looked at."""

    def __init__(self, driver: webdriver.Chrome, base: str, folder: Path) -> None:
        self.driver = driver
        self._base = base
        self._folder = folder
        self._seen = 0

    def open(self, path: str) -> None:
        """Go to a page of the hub."""
        self.driver.get(self._base + path)

    def find(self, selector: str) -> WebElement:
        """The first visible element, waited for."""
        found = WebDriverWait(self.driver, SECONDS).until(lambda _: self._visible(selector), selector)
        assert found is not None
        return found

    def _visible(self, selector: str) -> WebElement | None:
        return next((one for one in self.all(selector) if one.is_displayed()), None)

    def all(self, selector: str) -> list[WebElement]:
        """The elements that are there just now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def type(self, selector: str, text: str) -> None:
        """Write into an empty field."""
        self.find(selector).send_keys(text)

    def choose(self, selector: str, value: str) -> None:
        """Take the choice of a list that has this value."""
        Select(self.find(selector)).select_by_value(value)

    def click(self, selector: str) -> None:
        """Click, as somebody who scrolls there first."""
        found = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def style(self, selector: str, name: str) -> str:
        """A style of an element as it is computed from the style sheets that were loaded."""
        return self.find(selector).value_of_css_property(name)

    def wait_for_text(self, text: str) -> None:
        """Wait until the page says so."""
        body = (By.TAG_NAME, "body")
        WebDriverWait(self.driver, SECONDS).until(
            lambda driver: text in driver.find_element(*body).text, f"{text!r} on {self.driver.current_url}"
        )

    def text(self) -> str:
        """What the page says."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def look(self, name: str, but: str = "nothing") -> None:
        """Take a picture, and check that nothing on the page was blocked, missing or broken `but` this."""
        self._seen += 1
        self.driver.save_screenshot(str(self._folder / f"{self._seen:02d}-{name}.png"))
        complaints = [message for message in self.complaints() if but not in message]
        assert not complaints, f"{name}: {complaints}"

    def complaints(self) -> list[str]:
        """What the browser complained of since it was asked last: scripts that failed, files that are missing,
        breaches of the page's own policy."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # the library has no type for it
        found = [str(entry["message"]) for entry in entries if entry["level"] == "SEVERE"]
        return [message for message in found if "/favicon.ico" not in message]


@contextmanager
def browser(base: str, folder: Path) -> Iterator[Browser]:
    """A browser that knows nothing of any other; `base` ends with a slash."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(SECONDS)
        yield Browser(driver, base, folder)
    finally:
        driver.quit()
