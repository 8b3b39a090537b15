"""The control plane's own certificates, whose end stops everything: on the page, in its sentence and in the API."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from page_plane import Plane

from xds.http.page import render
from xds.http.page.gather import Gathered
from xds.http.status import status_of
from xds.http.view import View

DAY = 86_400.0


@pytest.fixture
def view() -> View:
    """One has ended, another ends in three days."""

    async def made() -> View:
        now = time.time()
        ends = {"xds.client_ca": now + 3_650 * DAY, "gds.ca": now + 3.01 * DAY, "xds.certificate": now - DAY}
        return replace(Plane(10, 1).view, own_certificates=lambda: ends)

    return asyncio.run(made())


def test_those_that_end_first_come_first_with_how_long_they_last(view: View) -> None:
    no_calls = cast(Any, None)
    html = render.section("certificates", Gathered(view, None, no_calls, no_calls).status())
    rows = re.findall(r"<tr>(.*?)</tr>", html.partition("<tbody>")[2])
    said = [" ".join(re.sub("<[^>]+>", " ", row).split())[:-11] for row in rows]
    assert said == ["xds.certificate expired", "gds.ca 3 d", "xds.client_ca 3650 d"]
    assert [re.findall(r"signal (\w+)", row) for row in rows] == [["bad"], ["warn"], ["good"]]


def test_the_sentence_and_the_api_tell_of_them(view: View) -> None:
    found = status_of(view)
    assert found.tone == "bad"
    assert found.verdict.startswith("The control plane's own certificate has expired")
    assert [(one.setting, round(one.days)) for one in found.own_certificates] == [
        ("xds.certificate", -1),
        ("gds.ca", 3),
        ("xds.client_ca", 3_650),
    ]
