"""What Envoys' admin interfaces say, as it is read for an explanation."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from xds.errors import PointsmanError
from xds.http.live import PATIENCE, Live, healths_of, live_state


def dump(**domains: list[str]) -> dict[str, Any]:
    """Virtual hosts by the cluster to which they lead."""
    hosts = [{"name": pod, "domains": names, "routes": [{"route": {"cluster": pod}}]} for pod, names in domains.items()]
    return {"configs": [{"version_info": "v7", "route_config": {"virtual_hosts": hosts}}]}


@pytest.mark.parametrize(
    ("host", "pod"),
    [("a.acme.test", "pod1"), ("b.acme.test", "pod2"), ("b.c.acme.test", "pod3"), ("other.test", None)],
)
def test_the_very_name_goes_before_the_longest_wildcard(host: str, pod: str | None) -> None:
    found = live_state(dump(pod1=["a.acme.test"], pod2=["*.acme.test"], pod3=["*.c.acme.test"]), host)
    assert (found.pod, found.version, found.error) == (pod, "v7", "")


@pytest.mark.parametrize("nonsense", [{}, [], None, {"configs": []}, {"configs": ["x"]}, {"configs": 7}])
def test_an_envoy_without_the_table_is_said_to_lack_it(nonsense: Any) -> None:
    if nonsense == {"configs": 7}:
        nonsense = {"configs": [7]}
    assert live_state(nonsense, "a.test").error


def test_an_endpoint_that_fails_any_check_is_unhealthy() -> None:
    def host(port: int, **status: object) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": "10.0.0.1", "port_value": port}}, "health_status": status}

    told = {
        "cluster_statuses": [
            {"name": "other", "host_statuses": [host(9)]},
            {
                "name": "pod1",
                "host_statuses": [
                    host(1, eds_health_status="HEALTHY"),
                    host(2, eds_health_status="HEALTHY", failed_outlier_check=True),
                    host(3, eds_health_status="DRAINING"),
                ],
            },
        ]
    }
    assert healths_of(told, "pod1") == {"10.0.0.1:1": "healthy", "10.0.0.1:2": "unhealthy", "10.0.0.1:3": "unhealthy"}


async def test_only_the_admins_that_the_operator_named_are_asked_and_one_that_is_down_says_so() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host == "down":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=dump(pod1=["a.test"]) if "config_dump" in request.url.path else {})

    live = Live({"edge-1": "http://up", "edge-2": "http://down"}, transport=httpx.MockTransport(answer))
    states, _ = await live.read(["edge-1", "edge-2", "edge-3"], "a.test", "pod1", "table-1")
    assert states["edge-1"].pod == "pod1"
    assert "refused" in states["edge-2"].error
    assert "edge-3" not in states
    assert set(asked) == {"up", "down"}


async def test_a_probe_without_an_edge_says_which_setting_is_missing() -> None:
    with pytest.raises(PointsmanError, match=r"http\.probe"):
        await Live().probe("a.test")


async def test_the_password_of_an_admin_is_in_no_answer() -> None:
    live = Live(
        {"edge-1": "http://ann:secret@up:9901"}, transport=httpx.MockTransport(lambda request: httpx.Response(500))
    )
    states, _ = await live.read(["edge-1"], "a.test", "pod1", "table-1")
    assert "500" in states["edge-1"].error
    assert "up:9901" in states["edge-1"].error
    assert "secret" not in states["edge-1"].error


async def test_what_hangs_is_given_up_together_however_many_are_asked() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3_600)
        raise AssertionError(request)

    admins = {f"edge-{number}": f"http://silent-{number}" for number in range(40)}
    live = Live(admins, edge="edge:443", transport=httpx.MockTransport(never))
    begun = time.monotonic()
    (states, _), probe = await asyncio.gather(live.read(admins, "a.test", "pod1", "table-1"), live.probe("a.test"))
    assert time.monotonic() - begun < 2 * PATIENCE, "one after the other they took ten seconds"
    assert len(states) == 40
    assert all("couldn't be read within 2 s" in state.error for state in states.values())
    assert probe.error


@pytest.mark.parametrize(
    ("headers", "by_pod", "pod"),
    [
        ({"x-pod": "pod1", "x-envoy-upstream-service-time": "2"}, True, "pod1"),
        ({"x-envoy-upstream-service-time": "2"}, True, None),
        ({"x-pod": "pod1"}, False, None),
    ],
)
async def test_a_probe_tells_a_pods_answer_from_the_edges_own(
    headers: dict[str, str], by_pod: bool, pod: str | None
) -> None:
    answer = httpx.MockTransport(lambda request: httpx.Response(503, headers=headers))
    found = await Live(edge="edge:443", header="x-pod", transport=answer).probe("a.test")
    assert (found.status, found.by_pod, found.pod) == (503, by_pod, pod)
