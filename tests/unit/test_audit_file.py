"""The audit log's file: where it can't be written, orders are done and said to the log all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from xds.audit import Audit


def test_a_folder_that_can_not_be_made_stops_nothing_and_is_loud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("this is no folder")
    audit = Audit(tmp_path / "state" / "audit.log")
    with audit.writing():
        audit.note("hold.release", "done", "ann", "192.0.2.1")
    assert [entry.who for entry in audit.newest_first()] == ["ann"]
    assert "audit.unwritten" in capsys.readouterr().out


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
