"""What is too large to be right waits, the edge serves as before, and an operator's word is one command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import Edge, customers, running, until
from operator_desk import (
    becomes_held,
    bulk,
    command,
    hold,
    metrics,
    on_disk,
    ready,
    restart_control_plane,
    store_kept,
    store_replaced,
    store_restored,
    under_load,
)

from demo.system import WITHOUT_TLS

DOMAINS = 1000


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("held"), domains=DOMAINS) as edge:
        yield edge


@pytest.fixture(autouse=True)
def load(edge: Edge) -> Iterator[None]:
    """On 100 domains that nothing here moves, whatever GDS says of them."""
    with under_load(edge, [*names_of("pod2"), *names_of("pod3")][:: DOMAINS // 150][:100]):
        yield


def names_of(pod: str) -> list[tuple[str, str]]:
    return [(domain, home) for domain, home in customers(DOMAINS) if home == pod]


def names(pod: str) -> list[str]:
    return [domain for domain, _ in names_of(pod)]


def test_a_bulk_over_the_share_is_held_refused_and_released_over_restarts(edge: Edge) -> None:
    moved = names("pod1")[:150]
    edge.becomes(moved[-1], "pod1")
    bulk(edge, moved, "pod2")
    found = becomes_held(edge)
    assert (found["reason"], found["changes"]["moved"]) == ("moved", 150)
    assert "guard.share" in found["text"]
    assert metrics(edge)['pointsman_held{reason="moved"}'] == 1
    assert ready(edge)["hold"] == "held"
    until(lambda: (edge.system.folder / "state" / "hold").exists(), "the hold is on disk")

    edge.put("small.example.com", "pod3")
    edge.becomes("small.example.com", "pod3")
    assert edge.ask(moved[-1]).pod == "pod1"

    restart_control_plane(edge)
    until(lambda: hold(edge).get("changes") is not None, "GDS is compared")
    code, shown = command(edge, "hold", "show")
    assert (code, shown["since"], shown["changes"]["moved"]) == (3, found["since"], 150)
    assert edge.ask(moved[-1]).pod == "pod1"

    code, refused = command(edge, "hold", "refuse")
    assert (code, refused["state"]) == (0, "refused")
    restart_control_plane(edge, signal.SIGTERM)
    until(lambda: hold(edge).get("changes") is not None, "GDS is compared")
    assert hold(edge)["state"] == "refused"
    assert metrics(edge)['pointsman_held{reason="moved"}'] == 0
    assert metrics(edge)['pointsman_refused{reason="moved"}'] == 1
    assert command(edge, "hold", "show")[0] == 0
    assert edge.ask(moved[-1]).pod == "pod1"

    assert command(edge, "hold", "release") == (0, {"state": "none"})
    for name in (moved[0], moved[-1]):
        edge.becomes(name, "pod2")
    code, said = command(edge, "hold", "release")
    assert (code, "409: nothing is held" in said) == (1, True)
    bulk(edge, moved[:75], "pod1")
    edge.becomes(moved[0], "pod1")
    bulk(edge, moved[75:], "pod1")
    assert becomes_held(edge)["reason"] == "many", "together they are as large as the one before"
    assert edge.ask(moved[0]).pod == "pod1"
    assert edge.ask(moved[-1]).pod == "pod2"
    assert command(edge, "hold", "release")[0] == 0
    edge.becomes(moved[-1], "pod1")


def test_orders_need_the_token_and_are_written_down(edge: Edge) -> None:
    for headers in ({}, {"authorization": "Bearer of-nothing-at-all"}):
        for path in ("hold/release", "hold/refuse", "rollback"):
            answer = WITHOUT_TLS.post(
                f"{edge.system.api_url}/api/v1/{path}",
                json={"by": "mallory"} | ({"revision": 1} if path == "rollback" else {}),
                headers=headers,
            )
            assert answer.status_code == 401, answer.text
    log = (edge.system.folder / "pointsman.log").read_text()
    lines = [line for line in log.splitlines() if '"audit"' in line]
    assert sum('"denied"' in line and "127.0.0.1" in line for line in lines) == 6
    assert not any("mallory" in line for line in lines), "what is said without a token isn't read"
    assert any('"hold.release"' in line and '"done"' in line for line in lines)


def test_a_gds_restored_from_an_old_backup_is_compared_and_taken_as_differences(edge: Edge, tmp_path: Path) -> None:
    edge.put("before.example.com", "pod1")
    edge.becomes("before.example.com", "pod1")
    store_kept(edge, tmp_path / "backup")
    edge.put("before.example.com", "pod2")
    edge.put("after.example.com", "pod2")
    edge.becomes("after.example.com", "pod2")
    store_restored(edge, tmp_path / "backup")
    edge.becomes("after.example.com", "")
    edge.becomes("before.example.com", "pod1")
    assert hold(edge)["state"] == "none"


def test_a_gds_that_was_replaced_by_half_of_itself_is_held_until_it_is_whole(edge: Edge) -> None:
    lost = customers(DOMAINS)[-1]
    edge.becomes(*lost)
    store_replaced(edge, customers(DOMAINS)[: DOMAINS // 2])
    found = becomes_held(edge)
    assert (found["reason"], ready(edge)["domains"] >= DOMAINS) == ("removed", True)
    edge.put("meanwhile.example.com", "pod3")
    edge.becomes("meanwhile.example.com", "pod3")
    assert edge.ask(lost[0]).pod == lost[1]
    edge.load(*[{"op": "put", "domain": name, "pod": pod} for name, pod in customers(DOMAINS)])
    until(lambda: hold(edge)["state"] == "none", "the hold ends by itself")
    edge.put("meanwhile.example.com", "pod1")
    edge.becomes("meanwhile.example.com", "pod1")
    assert edge.ask(lost[0]).pod == lost[1]


def test_an_empty_gds_empties_nothing(edge: Edge) -> None:
    store_replaced(edge, [])
    assert becomes_held(edge)["reason"] == "empty"
    restart_control_plane(edge)
    assert becomes_held(edge)["reason"] == "empty"
    assert edge.ask("t0.example.com").pod == "pod1"
    store_replaced(edge, customers(DOMAINS))
    until(lambda: hold(edge)["state"] == "none", "the hold ends by itself")


def test_a_rollback_is_one_command_and_gds_does_not_overwrite_it(edge: Edge) -> None:
    right = edge.put("wrong.example.com", "pod1")
    wrong = edge.put("wrong.example.com", "pod3")
    edge.becomes("wrong.example.com", "pod3")
    on_disk(edge, wrong)
    code, listed = command(edge, "rollback", "list")
    assert (code, [one["revision"] for one in listed[:2]]) == (0, [wrong, right])
    code, found = command(edge, "rollback", "to", f"{listed[1]['epoch']}:{right}")
    assert (code, found["reason"], found["changes"]["moved"]) == (0, "rollback", 1)
    edge.becomes("wrong.example.com", "pod1")

    edge.put("wrong.example.com", "pod2")
    restart_control_plane(edge)
    until(lambda: hold(edge).get("changes") is not None, "GDS is compared")
    assert hold(edge)["reason"] == "rollback"
    assert edge.ask("wrong.example.com").pod == "pod1"

    assert command(edge, "hold", "release")[0] == 0
    edge.becomes("wrong.example.com", "pod2")
    code, said = command(edge, "rollback", "to", "999999")
    assert (code, "isn't among the states that are kept" in said) == (1, True)
