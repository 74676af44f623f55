"""A headless Chromium to open pages in; tests are skipped where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HOSTILE = '</script><script>window.hit=1</script><img src=x onerror="window.hit=1">&amp;"\'\u2028\u202egpj'
UNFOLD = "document.querySelectorAll('details').forEach((one) => { one.open = true; }); hosts.forEach(mount)"
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=1400,900"),
)


def chromium() -> Iterator[Any]:
    """A driver of Chromium that logs its console and its network."""
    selenium = pytest.importorskip("selenium.webdriver", reason="NOT DRIVEN IN A BROWSER: pip install selenium")
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("NOT DRIVEN IN A BROWSER: there is no Chromium; apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in QUIET:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    page = selenium.Chrome(options, Service(driver))
    try:
        yield page
    finally:
        page.quit()


def emulate(page: Any, width: int, scheme: str = "light", media: str = "") -> None:
    """Show pages at this width in CSS pixels, in this colour scheme and medium."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def show(page: Any, path: Path) -> None:
    """Open a file, forgetting what was logged before."""
    page.get_log("browser")
    page.get_log("performance")
    page.get(path.as_uri())


def requests(page: Any) -> set[str]:
    """What the page asked for since `show`, data URIs left out."""
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"}
    return {url for url in urls if not url.startswith("data:")}


def wait(page: Any, seconds: float = 20) -> Any:
    """What waits: `wait(page).until(f)` calls f(page) until it is true; TimeoutException after these seconds."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(page, seconds, poll_frequency=0.1)


def mounted(page: Any, path: Path, width: int = 1400, scheme: str = "light") -> None:
    """A report, opened, with every view unfolded and every table and plot drawn."""
    emulate(page, width, scheme)
    show(page, path)
    page.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
    page.execute_script(UNFOLD)
