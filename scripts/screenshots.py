"""Pictures of a folder's HTML report for docs/: python scripts/screenshots.py RUNS OUT. Needs Chromium and selenium."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from browser import chromium, emulate, show

WIDTH = 1100  # pixels
SHOTS = {  # of each element its top, this many pixels high
    "glance": ("#glance", 400),
    "leaderboard": ("#leaderboard", 780),
    "runs": ("#leaderboard", 560),
    "compare": ("#compare", 920),
    "claims": ("#claims", 780),
    "beta": ("figure[data-plot=beta]", 600),
    "gallery": ("#gallery", 660),
}
FIRST = {"runs": "document.querySelectorAll('#leaderboard tbody th button')[0].click()"}  # what is done before


def main(runs: Path, out: Path) -> None:
    """Write report_<name>.png to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "report.html"
        command = [str(Path(sys.executable).with_name("anomaly-bench")), "leaderboard", str(runs), "--html", str(page)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for browser in chromium():
            emulate(browser, WIDTH)
            show(browser, page)
            browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            for name, (selector, tallest) in SHOTS.items():
                if browser.execute_script("return document.querySelector(arguments[0])", selector) is None:
                    continue  # such as curves over a single beta
                browser.execute_script("document.querySelector(arguments[0]).scrollIntoView()", selector)
                time.sleep(1)
                browser.execute_script(FIRST.get(name, ""))
                picture = Image.open(io.BytesIO(shot(browser, selector, tallest))).convert("RGB")
                picture.quantize(256, method=Image.Quantize.MAXCOVERAGE).save(out / f"report_{name}.png", optimize=True)


def shot(browser: Any, selector: str, tallest: int) -> bytes:
    """PNG of the top of an element."""
    script = "const e = document.querySelector(arguments[0]); e.scrollIntoView(); const r = e.getBoundingClientRect();"
    script += "return [r.left + scrollX, r.top + scrollY, r.width, r.height]"
    browser.execute_script(script, selector)
    time.sleep(2)  # plots are drawn when they come into view
    x, y, width, height = browser.execute_script(script, selector)
    clip = {"x": x, "y": y, "width": width, "height": min(height, tallest), "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    return base64.b64decode(taken["data"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
