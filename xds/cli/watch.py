"""The command ``pointsman watch``: what happens, as it does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import BAD, GOOD, QUIET, WARN, print_line, say, styled, took
from xds.cli.plane import Plane
from xds.errors import OrderError

_AGAIN = 0.5, 5.0
"""Seconds until a lost control plane is tried again: at first, and at most."""
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
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Changes as they flow: received, published, first_ack, complete, nack, held, connected, disconnected.

    A control plane that goes away is waited for; stderr says so. With --json there is one object a line.

    Examples:
        pointsman watch -c pointsman.toml
        pointsman watch --only nack --only held --json
        pointsman watch --for 60 --json > minute.jsonl
    """
    plane = Plane(config, url, token_file)
    end = time.monotonic() + seconds if seconds else float("inf")
    pause, connected = _AGAIN[0], False
    while time.monotonic() < end:
        try:
            with plane.lines("/api/v1/events") as lines:
                for event, told in events(lines):
                    connected, pause = True, _AGAIN[0]
                    if (event in only if only else event != "status") or (status and event == "status"):
                        print_line({"event": event, **told}) if as_json else _show(event, told)
                    if time.monotonic() >= end:
                        return
            raise OrderError(f"the control plane at {plane.url} ended the stream")
        except OrderError as error:
            # What answers, but not with events, won't do so later either; nor what was never there.
            if error.status or not connected:
                raise
            print(f"pointsman: {error}; trying again", file=sys.stderr)
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
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


def _show(event: str, told: dict[str, Any]) -> None:
    at = time.strftime("%H:%M:%S", time.gmtime(told.get("at") or told.get("now") or 0))
    say(styled(at, QUIET), "  ", styled(f"{event:<13}", _STYLES.get(event, "")), " ", _said(event, told))
    sys.stdout.flush()


def _said(event: str, told: dict[str, Any]) -> str:
    if event == "status":
        nodes = told["nodes"]
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
    if told.get("envoys") is not None:
        words.append(f"{told['envoys'] - (told.get('pending') or 0)} of {told['envoys']} Envoys")
    if told.get("seconds") is not None:
        words.append(f"{took(told['seconds'])} after the publish")
    if told.get("reason"):
        words.append(f"{told.get('type', '')} {told['reason']}".strip())
    if told.get("skipped"):
        words.append(f"({told['skipped']} events before this one aren't shown)")
    return ", ".join(words)
