"""The order that has hosts known: what is answered, and what of it is in the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import httpx
from fastapi import FastAPI

from xds.audit import Audit
from xds.errors import GdsError
from xds.gds.model import PutDomain
from xds.http.preload import NOTED, Later, preload_api
from xds.lookup.learner import Learner
from xds.lookup.preload import Preloaded


class Taking:
    """Takes all hosts, ``times`` each as it counts them; or raises."""

    def __init__(self, error: str = "", times: int = 1) -> None:
        self._error = error
        self._times = times

    async def preload(self, hosts: Mapping[str, str]) -> Preloaded:
        if self._error:
            raise GdsError(self._error)
        return Preloaded([PutDomain(host, pod) for host, pod in hosts.items()] * self._times)


class Due:
    """Calls that are to be made later."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.calls.append(call)
        loop = asyncio.get_running_loop()
        return asyncio.TimerHandle(loop.time() + seconds, lambda: None, (), loop)


async def ordered(
    audit: Audit, learner: Taking | None, *orders: dict[str, Any], later: Later | None = None
) -> list[httpx.Response]:
    app = FastAPI()
    app.include_router(preload_api(cast(Learner | None, learner), audit, later))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return [await client.post("/api/v1/lookup/hosts", json=order) for order in orders]


def order(more: bool = False, by: str = "ann") -> dict[str, Any]:
    return {"hosts": {"a.test": "pod1"}, "more": more, "by": by}


def noted(audit: Audit) -> list[tuple[str, str, str]]:
    return [(entry.who, entry.outcome, entry.reason) for entry in audit.newest_first()][::-1]


async def test_an_import_is_noted_when_it_begins_and_when_it_ends() -> None:
    audit = Audit()
    answers = await ordered(audit, Taking(), *[order(more=True)] * 50, order())
    assert answers[0].json() == {"taken": 1, "held": 0, "kept": 0, "refused": []}
    assert noted(audit) == [
        ("ann", "done", "1 taken, 0 known already, 0 refused"),
        ("ann", "done", "50 taken, 0 known already, 0 refused"),
    ]


async def test_an_import_that_is_cut_off_is_noted_with_the_next_one() -> None:
    audit = Audit()
    await ordered(audit, Taking(), order(more=True), order(more=True), order(by="bob"))
    assert [(who, reason[:7]) for who, _, reason in noted(audit)] == [
        ("ann", "1 taken"),
        ("ann", "1 taken"),
        ("bob", "1 taken"),
    ]


async def test_a_large_import_is_noted_again_and_again() -> None:
    audit = Audit()
    await ordered(audit, Taking(times=NOTED // 2), *[order(more=True)] * 5)
    assert len(noted(audit)) == 3


async def test_an_import_that_goes_no_further_is_noted_after_a_while() -> None:
    audit, due = Audit(), Due()
    await ordered(audit, Taking(), order(more=True), order(more=True), order(more=True), later=due)
    assert len(noted(audit)) == 1
    (run,) = due.calls
    run()
    assert noted(audit)[1:] == [("ann", "done", "2 taken, 0 known already, 0 refused")]


async def test_where_gds_is_watched_it_is_refused_with_the_reason() -> None:
    audit = Audit()
    (answer,) = await ordered(audit, None, order())
    assert (answer.status_code, "gds.mode = watch" in answer.text) == (409, True)
    assert [outcome for _, outcome, _ in noted(audit)] == ["refused"]


async def test_before_the_learner_has_begun_it_is_refused_for_now() -> None:
    audit = Audit()
    (answer,) = await ordered(audit, Taking("not yet"), order())
    assert (answer.status_code, noted(audit)) == (503, [("ann", "refused", "not yet")])
