"""``pointsman diff --gds``: what is routed against what GDS says, and no change that is only on its way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import failed

from xds.cli import diff
from xds.cli.plane import Plane
from xds.gds.model import Snapshot


def other(name: str, routed: str | None, said: str | None) -> dict[str, Any]:
    return {"kind": "gds", "name": name, "from": routed, "to": said, "control_plane": "http://127.0.0.1:1"}


def test_a_domain_is_missing_or_elsewhere_or_too_many() -> None:
    snapshot = Snapshot("E", 7, (), [("a.test", "pod1"), ("b.test", "pod2"), ("c.test", "pod1")])
    found = diff.differences(snapshot, [("a.test", "pod1"), ("b.test", "pod1"), ("gone.test", "pod1")], 10)
    assert [(one["name"], one["from"], one["to"]) for one in found] == [
        ("b.test", "pod1", "pod2"),
        ("gone.test", "pod1", None),
        ("c.test", None, "pod1"),
    ]
    assert len(diff.differences(snapshot, [], 2)) == 2


def test_what_is_on_its_way_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, moving = other("lost.test", None, "pod1"), other("moving.test", "pod1", "pod2")
    looks = [[lost, moving], [lost, other("moving.test", "pod2", "pod3")]]
    monkeypatch.setattr(diff, "_compared", lambda planes, most: (looks.pop(0), []))
    monkeypatch.setattr(diff, "_SETTLE", 0.0)
    assert diff._against_gds([Plane(url="http://127.0.0.1:1")], 10) == ([lost], [])


def test_an_envoy_is_not_compared_with_gds_nor_what_gds_can_not_tell(tmp_path: Path) -> None:
    assert "leave NODE out" in failed("diff", "edge-1", "--gds", "--url", "http://127.0.0.1:1", code=2)
    (tmp_path / "pointsman.toml").write_text('xds = { plaintext = true }\ngds = { mode = "lookup" }\n')
    assert "`pointsman compare --hosts FILE`" in failed("diff", "--gds", "-c", tmp_path / "pointsman.toml")
