"""The old proxy's map becomes known: its hosts are routed without a question, and a wrong one is put right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import until
from looking_up import Looked, looking_up

from demo.system import WITHOUT_TLS
from xds.http.preload import MOST


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    with looking_up(tmp_path_factory.mktemp("import"), {"refresh": 3.0}) as looked:
        yield looked


def imported(looked: Looked, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", "import", "haproxy-map", "-", *words]
    command += ["--config", str(looked.folder / "pointsman.toml")]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)


def test_the_maps_hosts_are_routed_without_a_question_to_gds(looked: Looked) -> None:
    names = [f"i{n}.example.com" for n in range(300)]
    looked.edge.load(*({"op": "put", "domain": name, "pod": "pod2"} for name in names))
    done = imported(looked, "".join(f"{name.upper()}:443\tpod2\r\n" for name in names))
    assert (done.returncode, done.stdout) == (0, "300 hosts taken, 0 known already; 0 lines can't be used\n")
    looked.gds.go()
    try:
        until(lambda: looked.edge.ask(names[-1]).pod == "pod2", "the last host is at the edge")
        assert {looked.edge.ask(name).pod for name in names[::30]} == {"pod2"}
    finally:
        looked.gds.come()


def test_a_wrong_entry_is_put_right_by_what_gds_says(looked: Looked) -> None:
    looked.edge.put("stale.example.com", "pod3")
    assert imported(looked, "stale.example.com pod1\n").returncode == 0
    until(lambda: looked.edge.ask("stale.example.com").pod == "pod3", "GDS's answer")


def test_what_is_known_already_stays_as_it_is(looked: Looked) -> None:
    looked.edge.put("known.example.com", "pod2")
    looked.learned("known.example.com", "pod2")
    done = imported(looked, "known.example.com pod1\n", "--json")
    said = {"lines": 1, "hosts": 1, "taken": 0, "held": 0, "known_already": 1, "bad_lines": []}
    assert json.loads(done.stdout) == said
    assert looked.edge.ask("known.example.com").pod == "pod2"


def test_bad_lines_are_named_and_the_others_taken(looked: Looked) -> None:
    looked.edge.put("good.example.com", "pod1")
    done = imported(looked, "# old\ngood.example.com pod1\nbad_host pod1\nx.example.com pod9\n.example.com pod1\n")
    assert done.returncode == 3, done.stderr
    assert looked.knows("good.example.com")
    lines = done.stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["-:3:", "-:5:", "-:4:", "1"]
    assert "lookup.pods" in lines[2]


def test_a_check_changes_nothing(looked: Looked) -> None:
    done = imported(looked, "checked.example.com pod1\n", "--check")
    assert (done.returncode, done.stdout) == (0, "1 hosts can be taken; 0 lines can't be used\n")
    assert not looked.knows("checked.example.com")


def test_the_order_needs_the_token_and_is_in_the_log(looked: Looked, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-that-is-not-the-right-one")
    done = imported(looked, "theirs.example.com pod1\n", "--token-file", str(tmp_path / "token"))
    assert (done.returncode, "401" in done.stderr) == (1, True)
    assert not looked.knows("theirs.example.com")
    log = [json.loads(line) for line in (looked.folder / "pointsman.log").read_text().splitlines() if "audit" in line]
    assert {(one["order"], one["outcome"]) for one in log} >= {
        ("lookup.hosts", "done"),
        ("POST /api/v1/lookup/hosts", "denied"),
    }


def test_a_map_of_many_long_names_is_taken_in_a_few_orders(tmp_path: Path) -> None:
    """Each is published by itself, in nearly every table."""
    names = [f"h{number}.{'.'.join(['x' * 60] * 3)}.example.com" for number in range(30_000)]
    with looking_up(tmp_path, {"refresh": 3600.0}) as looked:
        done = imported(looked, "".join(f"{name} pod2\n" for name in names))
        assert (done.returncode, done.stdout) == (0, "30,000 hosts taken, 0 known already; 0 lines can't be used\n")
        until(lambda: looked.at_envoy(names[-1]), "the last host is at Envoy", 60)
        assert looked.edge.ask(names[0]).pod == "pod2"
        assert looked.ready()["revision"] < 10


def test_no_order_is_too_large_for_the_event_loop(looked: Looked) -> None:
    answer = WITHOUT_TLS.post(
        f"{looked.edge.system.api_url}/api/v1/lookup/hosts",
        json={"hosts": {f"h{n}.test": "pod1" for n in range(MOST + 1)}},
        headers={"authorization": f"Bearer {(looked.folder / 'state' / 'token').read_text().strip()}"},
    )
    assert answer.status_code == 422


def test_what_gds_has_not_got_of_the_map_goes_without_a_hold_and_is_named(looked: Looked) -> None:
    live, dead = ([f"{kind}{n}.example.com" for n in range(40)] for kind in ("live", "dead"))
    looked.edge.load(*({"op": "put", "domain": name, "pod": "pod2"} for name in live))
    before = json.loads(pointsman(looked, "import", "show", "--json"))
    assert imported(looked, "".join(f"{name} pod2\n" for name in [*live, *dead[:20]])).returncode == 0
    until(lambda: not any(map(looked.knows, dead[:20])), "they are withdrawn", 60)
    assert looked.edge.ask(dead[0]).status == 404
    assert looked.edge.ask(live[-1]).pod == "pod2"
    assert pointsman(looked, "hold", "show") == "nothing is held\n"
    until(lambda: json.loads(pointsman(looked, "import", "show", "--json"))["not_asked"] == 0, "all were asked for", 60)
    told = json.loads(pointsman(looked, "import", "show", "--json"))
    assert (told["not_asked"], told["missing"], told["doubted"], before["gone"]) == (0, 0, False, 0)
    assert set(dead[:20]) <= set(told["left"])
    assert f"  gone: {told['left'][0]}\n" in pointsman(looked, "import", "show")
    assert looked.metric("lookup_imported", gds="gone") == told["gone"]


def pointsman(looked: Looked, *words: str) -> str:
    command = [sys.executable, "-m", "xds.cli", *words, "--config", str(looked.folder / "pointsman.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_what_one_control_plane_has_learned_can_be_imported_into_another(looked: Looked) -> None:
    """As `docs/lookup.md` says; here into the same one, which knows all of it."""
    looked.edge.put("first.example.com", "pod2")
    looked.learned("first.example.com", "pod2")
    learned = "".join("\t".join(line.split("\t")[:2]) + "\n" for line in pointsman(looked, "domains").splitlines())
    assert "first.example.com\tpod2\n" in learned
    done = imported(looked, learned)
    count = len(learned.splitlines())
    assert (done.returncode, done.stdout) == (0, f"0 hosts taken, {count} known already; 0 lines can't be used\n")
