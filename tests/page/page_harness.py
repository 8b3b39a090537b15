"""A served page, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from page_samples import calm, explanation, listings, one_change
from playwright.async_api import Browser, Page, async_playwright

from xds.http.page.content import CopyRow, Explanation, Listing, OneChange, Status
from xds.http.page.router import pages
from xds.http.serve import serving

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESK, PHONE, ZOOMED = (1360, 900), (360, 740), (640, 450)
"""In CSS pixels: at twice its size a window of 1280 has half as many."""

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs chromium (Debian package chromium), or CHROMIUM=PATH")


class Desk:
    """Facts that a test lays out."""

    def __init__(self) -> None:
        self.state: Status = calm()
        self.asked: list[str] = []
        self.looks = 0

    def happened(self) -> Hashable:
        return id(self.state)

    def status(self) -> Status:
        self.looks += 1
        return self.state

    async def listing(self, page: str, after: str) -> tuple[Listing[Any], str]:
        if after not in ("", "pod9"):
            raise ValueError(after)
        rows = listings().get(page, Listing())
        said = "211 lines of the audit log, the newest first." if page == "audit" else "What there is."
        return (Listing(rows.rows, rows.total) if after else rows), said

    async def explain(self, host: str) -> Explanation:
        self.asked.append(host)
        return replace(explanation(), host=host)

    async def copies(self, host: str, after: str) -> Listing[CopyRow]:
        if after not in ("", "7"):
            raise ValueError(after)
        rows = explanation().copies.rows
        return Listing(rows, 120, "" if after else "7")

    def change(self, number: int, after: str) -> OneChange | None:
        if after not in ("", "50"):
            raise ValueError(after)
        found = one_change()
        if number != found.row.number:
            return None
        return replace(found, acks=Listing(found.acks.rows[:2], 998)) if after else found


def app_of(desk: Desk) -> FastAPI:
    app = FastAPI()
    app.include_router(pages(desk, monotonic=time.monotonic))
    return app


@asynccontextmanager
async def served(desk: Desk, port: int = 0) -> AsyncIterator[str]:
    """Yields the address, without a slash at the end."""
    async with serving(app_of(desk), "127.0.0.1", port) as found:
        yield f"http://127.0.0.1:{found}"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        try:
            yield browser
        finally:
            await browser.close()


async def opened(
    browser: Browser,
    address: str,
    size: tuple[int, int] = DESK,
    *,
    complaints: list[str] | None = None,
    **context: Any,
) -> Page:
    """The only page. What the browser complains of, such as of the policy, is added to ``complaints``."""
    told = [] if complaints is None else complaints
    width, height = size
    for context_before in browser.contexts:
        await context_before.close()
    page = await browser.new_page(viewport={"width": width, "height": height}, **context)
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    await page.goto(address)
    return page
