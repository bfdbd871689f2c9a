"""Take serve.webp, the picture of `serve`, from the page itself; needs scikit-image, and Chromium on the PATH.

python docs/howto/screenshot.py
"""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from skimage import data

WIDTH, HEIGHT, SHOWN_WIDTH = 1280, 1580, 900


def take(page: Page, address: str, photograph: Path) -> bytes:
    """The page with a photograph, as PNG."""
    page.goto(address)
    page.set_input_files("input[type=file]", photograph)
    expect(page.locator("#progress")).to_contain_text("done", timeout=60_000)
    expect(page.locator("#map img")).to_be_visible()
    return page.screenshot()


def main() -> None:
    """Serve the page, open it, and write the picture."""
    command = [sys.executable, "-m", "pixelpyramids", "serve", "--port", "0", "--json"]
    with (
        TemporaryDirectory() as folder,
        sync_playwright() as started,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["address"]
            photograph = Path(folder) / "rocket.png"
            Image.fromarray(data.rocket()).save(photograph)
            chromium = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            picture = Image.open(io.BytesIO(take(page, address, photograph))).convert("RGB")
            chromium.close()
        finally:
            server.terminate()
    picture.thumbnail((SHOWN_WIDTH, HEIGHT))
    picture.save(Path(__file__).with_name("serve.webp"), quality=70, method=6)


if __name__ == "__main__":
    main()
