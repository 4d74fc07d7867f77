"""Pictures of a run's report as a browser shows it, on a desk and at 400 px: docs/images/report*.png.

    python benchmarks/report_images.py runs/reviews

Needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver) and the extras report and dev.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"report": (1200, 1500), "report-narrow": (400, 1500)}
"""Width and height of each picture, in px."""
FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
)


def open_page(page: Path, width: int, height: int, dark: bool = False) -> Chrome:
    """A browser of its own, that shows the page in a window of this size."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"window-size={width},{height}", f"user-data-dir={tempfile.mkdtemp(prefix='dilm-browser-')}"):
        options.add_argument(f"--{flag}")
    browser = Chrome(options=options, service=ChromeService("/usr/bin/chromedriver"))
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(page.resolve().as_uri())
    return browser


def main(folder: str) -> None:
    if not (Path(folder) / "report.html").is_file():
        raise SystemExit(f"{folder} has no report.html: pass the folder of a finished run")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, (width, height) in SIZES.items():
        browser = open_page(Path(folder) / "report.html", width, height)
        shown = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
        browser.quit()
        picture = Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")
        picture.save(IMAGES / f"{name}.png", optimize=True)
        print(IMAGES / f"{name}.png", *picture.size)


if __name__ == "__main__":
    main(sys.argv[1])
