"""A million domains and a thousand Envoys make no page slower, nor longer, than ten of each."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from page_harness import needs_chromium, opened
from page_plane import Plane
from playwright.async_api import Browser, expect

from xds.http.page.router import pages
from xds.http.serve import serving

LOOKS = 15
LOADS = 9
RATIO = 2.5
"""By how much the large one may seem slower on a machine that does other things, too."""


@dataclass(frozen=True)
class Planes:
    """By the number of domains and of Envoys; the largest has a million and a thousand. The other lists are as long as
    a page is anyway."""

    ten: Plane
    sixty: Plane
    large: Plane


@pytest.fixture(scope="module")
def planes() -> Planes:
    async def made() -> Planes:
        return Planes(Plane(10, 10), Plane(60, 60), Plane(1_000_000, 1_000))

    return asyncio.run(made())


@pytest.mark.parametrize(
    ("look", "small"), [(Plane.first_page, "ten"), (Plane.sections, "ten"), (Plane.envoys, "sixty")]
)
def test_a_large_edge_is_shown_as_quickly_as_a_small_one(
    planes: Planes, look: Callable[[Plane], str], small: str
) -> None:
    few, many = getattr(planes, small), planes.large
    times: dict[Plane, list[float]] = {few: [], many: []}
    for _ in range(LOOKS):
        for plane, taken in times.items():
            began = time.process_time()
            look(plane)
            taken.append(time.process_time() - began)
    quick, slow = (statistics.median(taken) for taken in times.values())
    print(f"{look.__name__}: {small} of each: {quick * 1000:.2f} ms, 1,000,000 and 1,000: {slow * 1000:.2f} ms")
    assert slow < RATIO * quick
    assert len(look(many)) < 2 * len(look(few))


def test_the_large_one_really_is(planes: Planes) -> None:
    status = planes.large.page.status()
    assert status.envoys.connected == status.envoys.current == 1_000
    assert "1\u202f000\u202f000 domains" in status.stations[1].note
    assert len(status.envoys.listing.rows) < 20


@needs_chromium
@pytest.mark.asyncio(loop_scope="module")
async def test_a_browser_has_it_loaded_and_live_as_quickly(planes: Planes, browser: Browser) -> None:
    """Served over a socket, with its script and styles, until what is live has come."""
    times: dict[Plane, list[float]] = {planes.ten: [], planes.large: []}
    async with AsyncExitStack() as stack:
        ports = {plane: await stack.enter_async_context(serving(app_of(plane), "127.0.0.1", 0)) for plane in times}
        for _ in range(LOADS):
            for plane, taken in times.items():
                began = time.monotonic()
                page = await opened(browser, f"http://127.0.0.1:{ports[plane]}/")
                await expect(page.locator("#link")).to_have_text("live,")
                taken.append(time.monotonic() - began)
                await page.close()
    quick, slow = (statistics.median(taken) for taken in times.values())
    print(f"in Chromium, until it is live: ten of each: {quick * 1000:.0f} ms, the large: {slow * 1000:.0f} ms")
    assert slow < RATIO * quick


def app_of(plane: Plane) -> FastAPI:
    app = FastAPI()
    app.include_router(pages(plane.page, monotonic=time.monotonic))
    return app
