"""`docs/install.md`, *Back up*: the state folder is copied at any moment, and what was copied is gone on with."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_harness import RUNNING, Edge, running, until
from looking_up import looking_up
from operator_desk import bearer, command, on_disk, ready

from demo.system import WITHOUT_TLS, answers
from xds.state.folder import StateFolder

NEW = "new-{}.example.com"


class Newcomers:
    """One customer after the other, and which of them is surely on disk."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._come)
        self.count = 0

    def _come(self) -> None:
        while not self._ended.is_set():
            self._edge.put(NEW.format(self.count), RUNNING[self.count % len(RUNNING)])
            self.count += 1

    def __enter__(self) -> Newcomers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)


def whole(copy: Path, at_least: int) -> None:
    """The copy holds the newcomers up to one of them, and that isn't one who came long before it was made."""
    folder = StateFolder(copy)
    state = folder.load().state
    folder.close()
    assert state is not None
    came = [name for name in state.domains if name.startswith("new-")]
    assert {*came} == {NEW.format(number) for number in range(len(came))}
    assert at_least <= len(came)


@contextmanager
def lost_and_restored(edge: Edge, copy: Path) -> Iterator[None]:
    """Disk, control plane and its memory are gone at once; in the block there is only what was copied."""
    edge.system.kill("pointsman", signal.SIGKILL)
    shutil.rmtree(edge.system.folder / "state")
    shutil.copytree(copy, edge.system.folder / "state")
    started = edge.system.start_control_plane()
    started.wait_until(lambda: answers(f"{edge.system.api_url}/readyz"), 90)
    yield


def pod_of(edge: Edge, host: str) -> str:
    answer = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/domains/{host}", headers=bearer(edge))
    return str(answer.json()["pod"]) if answer.status_code == 200 else ""


def audited(edge: Edge) -> int:
    code, told = command(edge, "audit")
    assert code == 0, told
    return len(told)


def test_a_copy_that_is_made_while_changes_flow_has_all_until_a_moment(tmp_path: Path) -> None:
    with running(tmp_path / "edge") as edge:
        state = edge.system.folder / "state"
        with Newcomers(edge) as newcomers:
            for number in range(20):
                until(lambda number=number: newcomers.count >= number * 5, "customers come")  # type: ignore[misc]
                kept = newcomers.count
                on_disk(edge, edge.put("kept.example.com", "pod1" if number % 2 else "pod2"))
                shutil.copytree(state, tmp_path / f"copy-{number}")
                whole(tmp_path / f"copy-{number}", kept)


def test_what_was_copied_is_served_when_the_disk_and_gds_are_gone_and_obeys_the_same_token(tmp_path: Path) -> None:
    with running(tmp_path / "edge") as edge:
        on_disk(edge, edge.put("kept.example.com", "pod2"))
        assert command(edge, "rollback", "to", str(ready(edge)["revision"]))[0] == 0
        assert command(edge, "hold", "release")[0] == 0
        before = audited(edge)
        shutil.copytree(edge.system.folder / "state", tmp_path / "copy")
        shown = bearer(edge)
        edge.system.kill("gds", signal.SIGKILL)
        with lost_and_restored(edge, tmp_path / "copy"):
            assert ready(edge)["from_disk"] is True
            assert pod_of(edge, "kept.example.com") == "pod2"
            assert bearer(edge) == shown
            assert audited(edge) >= before > 0
            until(lambda: edge.ask("kept.example.com").pod == "pod2", "it is routed")
            edge.system.start_gds()
            edge.system.wait_gds()
            edge.put("kept.example.com", "pod3")
            edge.becomes("kept.example.com", "pod3")


def test_in_lookup_mode_what_was_learned_is_known_again_and_an_old_copy_is_put_right(tmp_path: Path) -> None:
    with looking_up(tmp_path / "edge", {"refresh": 3.0}) as looked:
        edge = looked.edge
        for host in ("stays.example.com", "moves.example.com"):
            edge.put(host, "pod1")
            looked.learned(host, "pod1")
        until(lambda: {"stays.example.com", "moves.example.com"} <= on_the_disk(edge), "both are on disk")
        shutil.copytree(edge.system.folder / "state", tmp_path / "copy")
        looked.gds.go()
        with lost_and_restored(edge, tmp_path / "copy"):
            assert pod_of(edge, "stays.example.com") == "pod1"
            edge.put("moves.example.com", "pod2")
            assert edge.ask("moves.example.com").pod == "pod1"
            looked.gds.come()
            edge.becomes("moves.example.com", "pod2")
            assert edge.ask("stays.example.com").pod == "pod1"


def on_the_disk(edge: Edge) -> set[str]:
    """As another process sees it, which only reads."""
    folder = StateFolder(edge.system.folder / "state")
    state = folder.load().state
    folder.close()
    return {*state.domains} if state else set()
