"""What others choose, such as clients, Envoys and GDS, is shown on the operator's terminal and never obeyed by it."""

from __future__ import annotations

import pytest

from xds.cli import output
from xds.cli.shell import _failed
from xds.cli.wait import _said

HOSTILE = "\x1b[31mred\x1b]0;title\x07\u202eturned\x9bm\r\nforged  line"


@pytest.mark.parametrize("how", ["table", "facts", "say", "found", "error"])
def test_no_text_of_others_moves_the_terminal(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    match how:
        case "table":
            output.table(["one", "two"], [[HOSTILE, output.styled(HOSTILE, output.BAD)]])
        case "facts":
            output.facts([("name", HOSTILE)])
        case "say":
            output.say("said: ", HOSTILE, output.styled(HOSTILE))
        case "found":
            output.print_found({}, False, HOSTILE)
        case "error":
            _failed(HOSTILE)
    captured = capsys.readouterr()
    lines = (captured.out + captured.err).splitlines()
    assert all(line.isprintable() for line in lines), lines
    assert len(lines) == (2 if how in ("table", "found") else 1)


def test_who_waited_is_told_of_envoys_that_went_before_they_had_it() -> None:
    envoys = {"acked": 2, "total": 3, "left": 1}
    assert _said({"state": "complete", "seconds": None, "envoys": envoys, "nacks": []}, 5) == (
        "complete, 2/3 Envoys have it; 1 went before they had it"
    )
