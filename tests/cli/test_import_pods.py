"""What `pointsman import haproxy-cfg` prints is a pods file."""

from __future__ import annotations

from pathlib import Path

from command import failed, pointsman

from xds.gds.model import Endpoint
from xds.lookup import pods_file


def test_what_is_printed_is_a_pods_file_and_what_is_not_taken_over_is_said(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text(
        "backend pod1\n  server a localhost:8080 check\n  server b 10.0.0.1:80 weight 5\n"
    )
    done = pointsman("import", "haproxy-cfg", tmp_path / "haproxy.cfg")
    assert done.returncode == 0, done.stderr
    (pod,) = pods_file.parse(done.stdout.encode())
    assert Endpoint("127.0.0.1", 8080) in pod.endpoints
    assert Endpoint("10.0.0.1", 80, weight=5) in pod.endpoints
    name, check = done.stderr.splitlines()
    assert ("haproxy.cfg:2: server a: localhost is" in name, "not taken over: check" in check) == (True, True)


def test_a_server_that_must_be_seen_to_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text("backend pod1\n server a 10.0.0.1:443 ssl verify none\n")
    done = pointsman("import", "haproxy-cfg", tmp_path / "haproxy.cfg")
    assert (done.returncode, done.stderr[0]) == (3, "!")
    assert pods_file.parse(done.stdout.encode())


def test_a_file_without_pods_is_said_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text("global\n  daemon\n")
    assert "has no backend with a server" in failed("import", "haproxy-cfg", tmp_path / "haproxy.cfg")
    assert "can't be read" in failed("import", "haproxy-cfg", tmp_path / "none")
