"""The audit log's file: where it can't be written, orders are done and said to the log all the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from xds.audit import DENIED, Audit, Outcome


def test_a_folder_that_can_not_be_made_stops_nothing_and_is_loud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("this is no folder")
    audit = Audit(tmp_path / "state" / "audit.log")
    with audit.writing():
        audit.note("hold.release", "done", "ann", "192.0.2.1")
    assert [entry.who for entry in audit.newest_first()] == ["ann"]
    assert "audit.unwritten" in capsys.readouterr().out
    assert str(tmp_path / "state") in audit.trouble


def test_it_is_written_again_when_there_is_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "state" / "audit.log"
    path.parent.write_text("this is no folder")
    first = Audit(path)
    with first.writing():
        first.note("hold.release", "done", "ann", "192.0.2.1")
    path.parent.unlink()
    second = Audit(path)
    with second.writing():
        second.note("hold.refuse", "done", "bob", "192.0.2.1")
    assert '"bob"' in path.read_text()


def test_the_trouble_is_over_with_the_next_entry_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state" / "audit.log"
    path.parent.write_text("this is no folder")
    audit = Audit(path)
    with audit.writing():
        audit.note("hold.release", "done", "ann", "192.0.2.1")
        while not audit.trouble:  # another thread writes it
            time.sleep(0.01)
        path.parent.unlink()
        audit.note("hold.refuse", "done", "bob", "192.0.2.1")
    assert audit.trouble == ""
    assert '"bob"' in path.read_text()


def test_a_file_that_can_not_be_read_at_the_start_is_trouble_at_once(tmp_path: Path) -> None:
    (tmp_path / "audit.log").mkdir()
    audit = Audit(tmp_path / "audit.log")
    with audit.writing():
        assert "directory" in audit.trouble


def test_what_came_of_orders_is_counted_with_those_that_are_not_written_down() -> None:
    audit = Audit(wall=lambda: 0.0)
    came: tuple[Outcome, ...] = "asked", "done", "done"
    for outcome in came:
        audit.note("rollback", outcome, "ann", "192.0.2.1")
    for _ in range(DENIED + 5):
        audit.denied("rollback", "192.0.2.1", "no token")
    assert audit.outcomes == {"asked": 1, "done": 2, "denied": DENIED + 5}
    assert audit.kept == 3 + DENIED
