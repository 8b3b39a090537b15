"""GDS and control plane away: what was last known comes from disk, whatever happened to the disk."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import Edge, customers, running, until
from operator_desk import metrics, on_disk, ready, restart_control_plane, under_load


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("disk")) as edge:
        yield edge


@pytest.fixture
def load(edge: Edge) -> Iterator[None]:
    with under_load(edge, customers(100)):
        yield


def said(edge: Edge, event: str) -> list[str]:
    lines = (edge.system.folder / "pointsman.log").read_text().splitlines()
    return [line for line in lines if f'"{event}"' in line]


@contextlib.contextmanager
def gds_away(edge: Edge) -> Iterator[None]:
    edge.system.kill("gds", signal.SIGKILL)
    try:
        yield
    finally:
        edge.system.start_gds()
        edge.system.wait_gds()


def test_with_gds_away_a_control_plane_and_an_envoy_start_and_have_everything(edge: Edge) -> None:
    on_disk(edge, edge.put("kept.example.com", "pod3"))
    with gds_away(edge):
        edge.system.kill("pointsman", signal.SIGKILL)
        edge.system.kill("envoy")
        edge.system.start_control_plane()
        edge.system.start_envoy()
        edge.system.wait_control_plane()
        edge.system.wait_envoy()
        for name, pod in [*customers(200), ("kept.example.com", "pod3")]:
            assert edge.ask(name).pod == pod, name
        found = ready(edge)
        assert (found["ready"], found["from_disk"], found["domains"]) == (True, True, 201)
        time.sleep(1.5)
        assert ready(edge)["gds_silent_seconds"] > max(1.0, found["gds_silent_seconds"])
        assert metrics(edge)["pointsman_directory_from_disk"] == 1
        assert metrics(edge)["pointsman_gds_silent_seconds"] > 1
    edge.put("kept.example.com", "pod1")
    edge.becomes("kept.example.com", "pod1")
    assert ready(edge)["from_disk"] is False
    until(lambda: ready(edge)["gds_silent_seconds"] < 5, "GDS is heard again")


@pytest.mark.usefixtures("load")
def test_a_damaged_state_is_refused_aloud_and_the_one_before_is_served(edge: Edge) -> None:
    """What is damaged is the newest; everything that changed since the one before is in the journals."""
    on_disk(edge, edge.put("kept.example.com", "pod2"))
    edge.system.kill("pointsman")
    folder = edge.system.folder / "state"
    newest = max(folder.glob("*.state"))
    kept = newest.read_bytes()
    with gds_away(edge):
        newest.with_name("0000000777.state").write_bytes(kept[:-1])
        edge.system.start_control_plane()
        edge.system.wait_control_plane()
        assert edge.ask("kept.example.com").pod == "pod2"
        edge.becomes("kept.example.com", "pod2")
        assert "0000000777.state is not used: it is cut short" in said(edge, "state.refused")[-1]
    edge.put("kept.example.com", "pod1")
    edge.becomes("kept.example.com", "pod1")


@pytest.mark.usefixtures("load")
def test_a_state_folder_that_can_not_be_written_stops_nothing_and_is_loud(edge: Edge) -> None:
    edge.system.kill("pointsman")
    folder = edge.system.folder / "state"
    beside = folder.rename(folder.with_name("state-before"))
    folder.write_text("this is no folder")
    try:
        edge.system.start_control_plane()
        edge.system.wait_control_plane()
        edge.put("nodisk.example.com", "pod2")
        edge.becomes("nodisk.example.com", "pod2")
        until(lambda: metrics(edge)["pointsman_state_failing"] == 1, "it is said")
        assert "setting state.folder" in ready(edge)["state_error"]
    finally:
        folder.unlink()
        beside.rename(folder)
    until(lambda: metrics(edge)["pointsman_state_failing"] == 0, "it is written again")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.usefixtures("load")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_stops_nothing_and_leaves_nothing_torn(edge: Edge, tmp_path: Path) -> None:
    edge.system.kill("pointsman")
    settings = edge.system.folder / "pointsman.toml"
    before = settings.read_text()
    small = tmp_path / "small"
    with mounted(small, "size=64k,mode=700"):
        try:
            settings.write_text(before + f"\n[state]\nfolder = {json.dumps(str(small / 'state'))}\n")
            edge.system.start_control_plane()
            edge.system.wait_control_plane()
            on_disk(edge, edge.put("disk.example.com", "pod1"))
            filler = small / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(b"x" * 512):
                    pass
            for number in range(300):
                edge.put(f"full{number}.example.com", "pod2")
            edge.becomes("full299.example.com", "pod2")
            until(lambda: metrics(edge)["pointsman_state_failing"] == 1, "it is said")
            assert "No space left" in ready(edge)["state_error"]
            with gds_away(edge):
                restart_control_plane(edge)
                assert edge.ask("disk.example.com").pod == "pod1"
                assert not [line for line in said(edge, "state.refused") if str(small) in line]
            filler.unlink()
            until(lambda: metrics(edge)["pointsman_state_failing"] == 0, "it is written again")
            edge.system.kill("pointsman")
            subprocess.run(["mount", "-o", "remount,ro", small], check=True)
            edge.system.start_control_plane()
            edge.system.wait_control_plane()
            edge.put("readonly.example.com", "pod3")
            edge.becomes("readonly.example.com", "pod3")
            until(lambda: "Read-only" in ready(edge)["state_error"], "it is said")
        finally:
            edge.system.kill("pointsman")
            settings.write_text(before)
            edge.system.start_control_plane()
            edge.system.wait_control_plane()
