"""The command ``pointsman watch``: what happens, as it does."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Annotated, Any, get_args

import typer

from xds.cli.fleet import fleet
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, QUIET, WARN, print_line, say, styled, took
from xds.cli.plane import Plane
from xds.cli.together import Together
from xds.errors import OrderError, PointsmanError
from xds.receipt import Event

_AGAIN = 0.5, 5.0
"""Seconds until a lost control plane is tried again: at first, and at most."""
EVENTS = *get_args(Event), "status"
_LOOK = 0.5
"""Seconds between two looks at the clock."""
_STYLES = {"complete": GOOD, "nack": BAD, "held": BAD, "disconnected": WARN}


def watch(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="EVENT", help="Only these, such as nack; give it again for more.", show_default=False
        ),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="The status of each second, too.")] = False,
    seconds: Annotated[float, typer.Option("--for", min=0, help="Ends after so many seconds; 0: never.")] = 0.0,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Changes as they flow: received, published, first_ack, complete, nack, held, released, connected, disconnected.

    With several control planes (setting http.replicas, or --url several times) those of all: each is told once, with
    those that have it (control_planes) and those that didn't within a second and a half (lacking); who has it later is
    told as late.

    A control plane that goes away is waited for; stderr says so. With --json there is one object a line. Exit code 1
    when one can't be heard at the end.

    Examples:
        pointsman watch -c pointsman.toml
        pointsman watch --only nack --only held --json
        pointsman watch --for 60 --json > minute.jsonl
    """
    if unknown := sorted({*(only or ())} - {*EVENTS}):
        raise typer.BadParameter(f"no {', '.join(unknown)}; there are {', '.join(EVENTS)}", param_hint="--only")
    planes = fleet(config, url or (), token_file)
    end = time.monotonic() + seconds if seconds else float("inf")
    several = len(planes) > 1

    def show(event: str, told: dict[str, Any]) -> None:
        if (event in only if only else event != "status") or (status and event == "status"):
            print_line({"event": event, **told}) if as_json else _show(event, told, several)

    _Listening(planes).until(end, show)


class _Listening:
    """To all of them at a time, each in a thread of its own."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._urls = [plane.url for plane in planes]
        self._words: SimpleQueue[tuple[str, str, dict[str, Any] | PointsmanError]] = SimpleQueue()
        self._together = Together(self._urls)
        self._heard: set[str] = set()
        self._away: dict[str, PointsmanError] = {}
        """Why those that can't be heard now can't."""
        for plane in planes:
            threading.Thread(target=_follow, args=(plane, self._words.put), daemon=True).start()

    def until(self, end: float, show: Callable[[str, dict[str, Any]], None]) -> None:
        """Shows what happens, until ``end`` or for ever. Raises PointsmanError when none can be heard, or not all of
        them at the end."""
        while (now := time.monotonic()) < end:
            for event, told in self._together.due(now):
                show(event, told)
            wakes = self._together.wakes(now)
            try:
                url, event, word = self._words.get(timeout=min(end - now, _LOOK if wakes is None else wakes + 0.001))
            except Empty:
                continue
            if isinstance(word, PointsmanError):
                self._lost(url, word)
            else:
                self._heard.add(url)
                self._away.pop(url, None)
                self._together.heard(url, event, word, time.monotonic())
        for event, told in self._together.due(float("inf")):
            show(event, told)
        if self._away:
            away = "; ".join(map(str, self._away.values()))
            raise OrderError(f"{len(self._away)} of {len(self._urls)} control planes can't be heard: {away}")

    def _lost(self, url: str, error: PointsmanError) -> None:
        """What answers, but not with events, won't do so later either; nor what was never there. Of several the others
        are heard all the same."""
        known = url in self._away
        self._away[url] = error
        self._together.lost(url)
        hopeless = [
            one
            for one, why in self._away.items()
            if one not in self._heard or (isinstance(why, OrderError) and why.status)
        ]
        if len(hopeless) == len(self._urls):
            raise self._away[self._urls[0]]
        if not known:
            print(f"pointsman: {error}; trying again", file=sys.stderr)


def _follow(plane: Plane, tell: Callable[[tuple[str, str, dict[str, Any] | PointsmanError]], None]) -> None:
    """Tells what it says, and what is in the way; for ever."""
    pause = _AGAIN[0]
    while True:
        try:
            with plane.lines("/api/v1/events") as lines:
                for event, told in events(lines):
                    pause = _AGAIN[0]
                    tell((plane.url, event, told))
            raise OrderError(f"the control plane at {plane.url} ended the stream")
        except PointsmanError as error:
            tell((plane.url, "", error))
        time.sleep(pause)
        pause = min(2 * pause, _AGAIN[1])


def events(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of server-sent events: each one's name and what its data say."""
    name, data = "", ""
    for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line and data:
            yield name, json.loads(data)
            name, data = "", ""


def _show(event: str, told: dict[str, Any], several: bool) -> None:
    at = time.strftime("%H:%M:%S", time.gmtime(told.get("at") or told.get("now") or 0))
    say(
        styled(at, QUIET),
        "  ",
        styled(f"{event:<13}", _STYLES.get(event, "")),
        " ",
        _said(event, told),
        _where(told) if several else "",
    )
    sys.stdout.flush()


def _said(event: str, told: dict[str, Any]) -> str:
    if event == "status":
        nodes = told["nodes"]
        if not nodes["connected"]:
            return f"revision {told['published']}, no Envoy is connected"
        return f"revision {told['published']}, {nodes['converged']} of {nodes['connected']} Envoys have everything"
    words = []
    if told.get("revision") is not None:
        words.append(f"revision {told['revision']}")
    if told.get("node"):
        words.append(told["node"])
    for one in told.get("first_changes") or ():
        words.append(f"{one['name']}: {one.get('from') or 'nowhere'} → {one.get('to') or 'nowhere'}")
    more = (told.get("changes") or 0) - len(told.get("first_changes") or ())
    if more > 0:
        words.append(f"{more:,} more changes")
    if told.get("by"):
        words.append(f"by {told['by']}")
    if told.get("envoys") == 0:
        words.append("no Envoy is connected")
    elif told.get("envoys") is not None:
        words.append(f"{told['envoys'] - (told.get('pending') or 0)} of {told['envoys']} Envoys")
    if told.get("seconds") is not None:
        words.append(f"{took(told['seconds'])} after the publish")
    if told.get("reason"):
        words.append(f"{told.get('type', '')} {told['reason']}".strip())
    if told.get("skipped"):
        words.append(f"({told['skipped']} events before this one aren't shown)")
    return ", ".join(words)


def _where(told: dict[str, Any]) -> str:
    """At which of several control planes that is."""
    having, lacking = told["control_planes"], told.get("lacking")
    if told.get("late"):
        return f", late at {', '.join(having)}" + (f", not yet at {', '.join(lacking)}" if lacking else "")
    if lacking is None:
        return f", at {', '.join(having)}"
    if not lacking:
        return f", at all {len(having)} control planes"
    return f", at {', '.join(having)}, not at {', '.join(lacking)}"
