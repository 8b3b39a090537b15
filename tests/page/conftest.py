from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from page_harness import Desk, chromium, served
from page_samples import calm
from playwright import async_api, sync_api
from playwright.async_api import Browser

for api in (async_api, sync_api):
    api.expect.set_options(timeout=30_000)  # a busy machine is no error of the page


@pytest.fixture(scope="module")
def the_desk() -> Desk:
    return Desk()


@pytest.fixture
def desk(the_desk: Desk) -> Desk:
    """As on a calm day at the beginning of each test."""
    the_desk.state = calm()
    the_desk.asked.clear()
    return the_desk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(the_desk: Desk) -> AsyncIterator[str]:
    async with served(the_desk) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found
