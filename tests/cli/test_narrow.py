"""On a narrow terminal all can still be read: where columns would be too narrow, a cell has a line of its own."""

from __future__ import annotations

import re

from command import on_terminal, pointsman
from stub_control_plane import StubControlPlane

NODES = [
    {
        "node": f"edge-{number}.eu-west.example.com",
        "cluster": "edge",
        "peer": f"10.20.30.4{number}:51234",
        "variant": "delta",
        "connected_seconds": 4_000.0,
        "rejecting": False,
        "converged": True,
        "types": [],
    }
    for number in range(2)
]


def shown(columns: int) -> list[str]:
    """The lines on a terminal that is so wide, without escapes."""
    plane = StubControlPlane(lambda method, path, headers: (200, {"items": NODES, "next": None, "total": 2}))
    try:
        told = on_terminal("nodes", "--url", plane.url, env={"COLUMNS": str(columns), "NO_COLOR": "1"})
    finally:
        plane.close()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told).splitlines()


def test_on_a_wide_terminal_it_is_a_table() -> None:
    head, *rows = [line for line in shown(200) if line.strip()]
    assert head.split()[:3] == ["node", "cluster", "peer"]
    assert [row.split()[0] for row in rows] == [one["node"] for one in NODES]


def test_those_that_reject_something_or_are_behind_come_first() -> None:
    each = [
        {**NODES[0], "node": name, "rejecting": name == "rejects", "converged": name == "well"}
        for name in ("well", "behind", "well", "rejects", "well")
    ]
    plane = StubControlPlane(lambda method, path, headers: (200, {"items": each, "next": None, "total": 5}))
    try:
        done = pointsman("nodes", "--url", plane.url)
    finally:
        plane.close()
    assert done.returncode == 3
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["rejects", "behind", "well", "well", "well"]


def test_on_a_narrow_one_no_word_is_broken_and_no_line_is_too_long() -> None:
    lines = shown(40)
    assert all(len(line) <= 40 for line in lines), lines
    words = " ".join(lines).split()
    for one in NODES:
        assert one["node"] in words
        assert one["peer"] in words
