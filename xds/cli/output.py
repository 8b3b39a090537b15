"""What the commands print: JSON for programs, tables and lines for people. Nothing else is on stdout.

Where stdout isn't a terminal there is no colour and no box, and nothing is cut. Where it can't show a character, a
plainer one stands for it.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

UNCUT = 10_000
"""Columns of what isn't a terminal."""

_READABLE = 12
"""Columns of a cell in which it can be read, though it is folded."""
_PLAINER = {"→": "->", "…": "...", "·": "-", "✓": "ok", "✗": "x", "“": '"', "”": '"'}

GOOD, WARN, BAD, QUIET = "green", "yellow", "red", "dim"


def prepare() -> None:
    """Makes stdout and stderr write whatever they are given. Comes first."""

    def plainer(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        text = error.object[error.start : error.end]
        return "".join(_PLAINER.get(one, "?") for one in text), error.end

    codecs.register_error("plainer", plainer)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plainer")


def console(stream: TextIO | None = None) -> Console:
    """Of stdout unless told; colours only on a terminal, and not with NO_COLOR."""
    from rich.console import Console

    stream = stream or sys.stdout
    on_terminal = stream.isatty()
    width = None if on_terminal else UNCUT
    return Console(file=stream, width=width, highlight=False, soft_wrap=not on_terminal, emoji=False, markup=False)


def print_json(found: Any) -> None:
    print(json.dumps(found, indent=2))


def print_line(found: Any) -> None:
    """One JSON value on a line of its own, at once: for streams."""
    print(json.dumps(found), flush=True)


def print_found(found: Any, as_json: bool, text: str) -> None:
    """The API's answer as it came, or the text."""
    if as_json:
        print_json(found)
    else:
        print("\n".join(map(plain, text.split("\n"))))


def plain(text: object) -> str:
    """One line without what a terminal obeys: clients, Envoys and GDS choose some of what is shown."""
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(one if one.isprintable() else " " if one.isspace() else "\ufffd" for one in whole)


def styled(text: object, style: str = "") -> Any:
    from rich.text import Text

    return Text(plain(text), style=style)


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[int] = ()) -> None:
    """``numbers``: the columns that are flush right. On a narrow terminal cells fold; they are never cut. Where the
    columns would be too narrow to be read, each row is a few lines, a cell on each."""
    from rich.table import Table

    rows = [[cell if hasattr(cell, "plain") else styled("" if cell is None else cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and _too_wide(heads, rows, console().width):
        _print_rows(heads, rows)
        return
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        made.add_column(
            head,
            justify="right" if place in numbers else "left",
            overflow="fold",
            no_wrap=not sys.stdout.isatty(),
        )
    for row in rows:
        made.add_row(*row)
    _print_trimmed(made)


def _too_wide(heads: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> bool:
    """Whether columns would have to be narrower than what can be read in them: their heads, and some of each cell."""
    least = [
        max(len(head), min(_READABLE, max((row[place].cell_len for row in rows), default=0)))
        for place, head in enumerate(heads)
    ]
    return sum(least) + 2 * (len(heads) - 1) > width


def _print_rows(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for number, row in enumerate(rows):
        if number:
            print()
        for head, cell in zip(heads, row, strict=True):
            if cell.plain:
                say(styled(head, "bold"), ": ", cell)


def facts(rows: Iterable[tuple[str, Any]]) -> None:
    """Names and what they are, below each other."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold", no_wrap=not sys.stdout.isatty())
    for name, value in rows:
        made.add_row(styled(name), value if hasattr(value, "plain") else styled(value))
    _print_trimmed(made)


def say(*parts: Any) -> None:
    """A line of texts, some of them `styled`."""
    from rich.text import Text

    made = Text.assemble(*(plain(part) if isinstance(part, str) else part for part in parts))
    console().print(made, soft_wrap=True)


def _print_trimmed(made: Any) -> None:
    """Without the spaces that fill the last column."""
    out = console()
    if sys.stdout.isatty():
        out.print(made)
        return
    with out.capture() as captured:
        out.print(made)
    for line in captured.get().splitlines():
        print(line.rstrip())


@contextmanager
def progress(what: str, total: int | None = None, *, printing: bool = False) -> Iterator[Any]:
    """A bar on stderr while the block runs, where that is a terminal; its value is called with how far it is.
    ``printing``: the block prints to stdout; what is seen there needs no bar."""
    if not sys.stderr.isatty() or (printing and sys.stdout.isatty()):
        yield lambda done, total=None: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # Unless told, Rich takes stdout, too, and what was meant for a file would be on the terminal.
    with Progress(
        *columns, console=console(sys.stderr), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, total=None: bar.update(task, completed=done, **({"total": total} if total else {}))


def when(seconds: float | None) -> str:
    """A time of the API (seconds since 1970) for people."""
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def moment(iso: str) -> str:
    """A moment in UTC that came as ISO 8601, as `when` writes one."""
    return f"{iso[:10]} {iso[11:19]} UTC"


def age(seconds: float | None) -> str:
    """How long, for people: "0.3 s", "12 min", "3 h", "9 d"."""
    if seconds is None:
        return "never"
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def ago(at: float | None) -> str:
    return "never" if at is None else f"{age(max(0.0, time.time() - at))} ago"


def took(seconds: float | None) -> str:
    """A short time: "0.8 ms", "3.2 s"."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def plain_terminal() -> bool:
    """No boxes: stdout isn't a terminal, or one that can do little."""
    return not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"
