"""What report.html looks like: docs/report.png.

    python experiments/screenshot.py    after experiments/compare.py ucf101-3

It takes playwright, and Chromium (`apt install chromium`). The pointer is on a video that the first
method got wrong.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from needed import needs

needs("playwright")

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
REPORT = HERE / ".cache" / "ucf101-3.html"


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not REPORT.is_file():
        sys.exit("needed: Chromium (apt install chromium), and experiments/compare.py ucf101-3.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1160, "height": 1500})
        tab.goto(REPORT.as_uri())
        tab.wait_for_selector("html[data-ready]", state="attached")
        box = tab.locator(".map canvas + canvas").first.bounding_box()
        x, y = tab.evaluate("project(maps[0], visible.find((v) => isWrong(0, v)))")
        tab.mouse.move(box["x"] + x, box["y"] + y)
        tab.wait_for_function("document.querySelector('#tip img').naturalWidth > 0")
        tab.screenshot(path=HERE.parent / "docs" / "report.png")
        browser.close()


if __name__ == "__main__":
    main()
