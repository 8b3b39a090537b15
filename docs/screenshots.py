"""Draws docs/screenshots/ anew, of the tests' example: a calm day and a bad one. ``make screenshots``.

Needs Chromium; with Debian's fonts-inter they look as they do here, with its pngquant they are as small.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

from page_harness import Desk, chromium, opened, served
from page_samples import trouble
from playwright.async_api import Browser, expect

FOLDER = Path(__file__).with_name("screenshots")
WIDE, PHONE = (1280, 800), (390, 844)


async def main() -> None:
    desk = Desk()
    FOLDER.mkdir(exist_ok=True)
    async with served(desk) as address, chromium() as browser:
        await _shot(browser, f"{address}/", "status-light", WIDE, "light")
        await _shot(browser, f"{address}/", "status-dark", WIDE, "dark")
        await _shot(browser, f"{address}/explain?host=acme.example.com", "explain", WIDE, "light")
        await _shot(browser, f"{address}/audit", "audit", WIDE, "light")
        desk.state = trouble()
        await _shot(browser, f"{address}/", "trouble", WIDE, "light")
        await _shot(browser, f"{address}/", "phone", PHONE, "dark")


async def _shot(browser: Browser, address: str, name: str, size: tuple[int, int], scheme: str) -> None:
    page = await opened(browser, address, size, color_scheme=scheme)
    if address.endswith("/"):
        await expect(page.locator("#link")).to_have_text("live,")
    picture = FOLDER / f"{name}.png"
    await page.screenshot(path=picture, full_page=name != "phone")
    if smaller := shutil.which("pngquant"):
        command = [smaller, "64", "--strip", "--force", "--output", picture, picture]
        await asyncio.to_thread(subprocess.run, command, check=True)


if __name__ == "__main__":
    asyncio.run(main())
