"""The comparison where GDS is asked host by host: who hasn't been asked for yet is no difference."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from looking_up import Looked


def compared(looked: Looked, text: str, *words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "xds.cli", "compare", "--map", "-", "--json", "--settle", "0", *words]
    command += ["--config", str(looked.folder / "pointsman.toml")]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_host_that_nobody_has_asked_for_yet_is_no_difference(looked: Looked) -> None:
    looked.edge.put("quiet.example.com", "pod2")
    code, found = compared(looked, "quiet.example.com pod2\n")
    assert (code, found["equal"], found["not_asked_for_yet"]) == (0, 1, 1)
    assert not looked.knows("quiet.example.com")


def test_a_customer_who_moved_since_the_map_was_filled_is_one_and_the_edge_is_right(looked: Looked) -> None:
    looked.edge.put("moved.example.com", "pod3")
    url = f"https://127.0.0.1:{looked.edge.system.ports.edge_https}"
    through = ["--edge", url, "--edge-ca", str(looked.edge.system.ca), "--pod-header", "x-pod"]
    code, found = compared(looked, "moved.example.com pod1\n", *through)
    (row,) = found["different"]
    assert (code, row["map"], row["gds"], row["edge"]) == (3, {"pod": "pod1"}, {"pod": "pod3"}, {"pod": "pod3"})
