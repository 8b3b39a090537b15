"""A real edge, compared with its GDS and with an old map: what moved since is found, by a request through Envoy too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from edge_harness import Edge, running

from xds.compare.run import Bounds, compare
from xds.compare.sources import ControlPlane, Gds
from xds.compare.sources import Edge as Probe
from xds.compare.sources import through as client_through
from xds.compare.verdict import CONTROL_PLANE, EDGE, GDS, Said, Tally
from xds.lookup.client import LookupClient

HEADER = "x-answered-by"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("compare"), {"edge": {"tables": 16, "pod_header": HEADER}}) as made:
        yield made


async def compared(edge: Edge, *listed: tuple[str, str]) -> Tally:
    url = f"https://127.0.0.1:{edge.system.ports.edge_https}"
    async with (
        LookupClient(edge.system.gds_url) as client,
        httpx.AsyncClient(trust_env=False) as http,
        client_through(4, edge.system.ca) as made,
    ):
        plane = ControlPlane(edge.system.api_url, http, lookup=False)
        return await compare(listed, [Gds(client), plane, Probe(url, "/", HEADER, made)], Bounds(rate=1_000, settle=0))


async def test_everybody_says_the_same_of_known_and_unknown_hosts(edge: Edge) -> None:
    names = [f"{chr(ord('a') + n % 26)}{n}.example.com" for n in range(1, 60)]
    tally = await compared(edge, *((name, "") for name in names), ("nobody.example.com", ""))
    assert (tally.equal, tally.different, tally.unanswered) == (60, [], [])


async def test_a_domain_that_moved_since_the_map_was_written_is_a_difference(edge: Edge) -> None:
    edge.put("moved.example.com", "pod1")
    edge.becomes("moved.example.com", "pod1")
    tally = await compared(edge, ("moved.example.com", "pod2"), ("t0.example.com", "pod1"))
    (row,) = tally.different
    assert (row.host, row.said[GDS], row.said[CONTROL_PLANE], row.said[EDGE]) == (
        "moved.example.com",
        *[Said("pod1")] * 3,
    )


async def test_a_host_that_the_edge_has_no_certificate_for_is_unanswered(edge: Edge) -> None:
    edge.put("uncovered.test", "pod1")
    tally = await compared(edge, ("uncovered.test", ""))
    (row,) = tally.unanswered
    assert "certificate" in row.said[EDGE].error.lower()


def test_the_header_names_the_pod_over_the_pods_own_and_never_for_an_unknown_host(edge: Edge) -> None:
    known, unknown = edge.ask("t0.example.com"), edge.ask("nobody.example.com")
    assert (known.headers[HEADER], known.pod) == ("pod1", "pod1")
    assert unknown.status == 404
    assert unknown.headers.get(HEADER, "-") == "-"


def pointsman(edge: Edge, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", *words, "--config", str(edge.system.folder / "pointsman.toml")]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def through(edge: Edge) -> list[str]:
    return ["--edge", f"https://127.0.0.1:{edge.system.ports.edge_https}", "--edge-ca", str(edge.system.ca)]


def test_the_command_says_what_differs_and_so_does_its_exit_code(edge: Edge, tmp_path: Path) -> None:
    edge.put("away.example.com", "pod3")
    edge.becomes("away.example.com", "pod3")
    old = tmp_path / "backend.map"
    old.write_text("# old\nT0.example.com:443   pod1\naway.example.com pod1\n")
    done = pointsman(edge, "compare", "--map", str(old), "--settle", "0", *through(edge))
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines() == [
        "away.example.com  map: pod1, gds: pod3, control plane: pod3, edge: pod3",
        "2 hosts: 1 equal, 1 different",
    ]


def test_the_command_is_content_when_all_say_the_same(edge: Edge) -> None:
    done = pointsman(
        edge, "compare", "--hosts", "-", "--json", *through(edge), stdin="t0.example.com\nb1.example.com\n"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "hosts": 2,
        "equal": 2,
        "settled": 0,
        "not_asked_for_yet": 0,
        "edge_not_asked": "",
        "different": [],
        "unanswered": [],
        "bad_lines": [],
    }


def test_a_line_that_can_not_be_compared_is_named_and_is_no_success(edge: Edge) -> None:
    done = pointsman(edge, "compare", "--map", "-", stdin="t0.example.com pod1\n.example.com pod1\n")
    assert done.returncode == 1
    assert "-:2: stands for hosts that it doesn't name" in done.stdout


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (["--map", "/nowhere"], "", 1, "/nowhere can't be read"),
        (["--map", "-"], "# nothing\n", 1, "no host to be compared"),
        (["--hosts", "-", "--url", "http://127.0.0.1:9"], "\n".join(f"a{n}.test" for n in range(50)), 1, "in a row"),
        (["--map", "-", "--hosts", "-"], "", 2, "--map FILE or --hosts FILE"),
    ],
)
def test_what_can_not_be_compared_is_said_in_one_line(
    edge: Edge, words: list[str], stdin: str, code: int, said: str
) -> None:
    done = pointsman(edge, "compare", *words, stdin=stdin)
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (code, True, 1), done.stderr


def test_where_gds_is_watched_nothing_is_imported_and_it_is_said_why(edge: Edge) -> None:
    done = pointsman(edge, "import", "haproxy-map", "-", stdin="t0.example.com pod2\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "gds.mode = watch" in done.stderr
    assert edge.ask("t0.example.com").pod == "pod1"


def test_another_proxy_is_not_taken_for_an_edge_that_knows_nobody(edge: Edge, tmp_path: Path) -> None:
    """What is asked here is GDS, which answers 404 for such a path, as an old proxy may for every host."""
    old = tmp_path / "backend.map"
    old.write_text("t0.example.com pod1\nb1.example.com pod2\n")
    done = pointsman(edge, "compare", "--map", str(old), "--edge", edge.system.gds_url, "--edge-path", "/nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"names the pod of none of 2 hosts in a header {HEADER}" in done.stderr


def test_without_its_address_the_edge_of_the_same_machine_is_asked_or_it_is_said_why_not(edge: Edge) -> None:
    ca = ["--edge-ca", str(edge.system.ca)]
    listed = "t0.example.com\nnobody.example.com\n"
    asked = pointsman(edge, "compare", "--hosts", "-", *ca, stdin=listed)
    assert (asked.returncode, asked.stdout) == (0, "2 hosts: 2 equal, 0 different\n"), asked.stderr
    unasked = pointsman(edge, "compare", "--hosts", "-", stdin=listed)
    assert unasked.returncode == 0
    assert unasked.stdout.startswith(f"the edge wasn't asked: https://127.0.0.1:{edge.system.ports.edge_https}/ names")
    assert "certificate" in unasked.stdout
    none = pointsman(edge, "compare", "--hosts", "-", "--edge", "none", *ca, "--json", stdin=listed)
    assert json.loads(none.stdout)["edge_not_asked"] == "--edge none"
