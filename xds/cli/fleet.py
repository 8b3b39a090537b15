"""An order to every control plane of an edge: they share nothing, so each is asked by itself, and each is reported.

What one of them can't do is no reason not to ask the others: the order is given to all, and then it is said where it
wasn't done.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from xds.cli.output import plain, print_found, print_json, say, styled
from xds.cli.plane import TIMEOUT, Plane
from xds.errors import OrderError, PointsmanError

Ask = Callable[[Plane], Any]


def fleet(
    config: Path | None, urls: Sequence[str], token_file: Path | None = None, *, patience: float = TIMEOUT
) -> list[Plane]:
    """Those at ``urls``; else those that the setting ``http.replicas`` names, each address of a name that has several,
    or the one that the settings are of."""
    if urls:
        return [Plane(config, url, token_file, patience=patience) for url in urls]
    own = Plane(config, "", token_file, patience=patience)
    each = [(url, one) for url in own.replicas for one in addresses(url)]
    return [Plane(config, url, token_file, patience=patience, of=of) for of, url in each] or [own]


def addresses(url: str) -> list[str]:
    """The URL for each address that its name has, such as a headless Service of Kubernetes; itself where there is one
    or none, and over HTTPS, where the name must be the certificate's. A name of both families stands for one machine
    twice: then the IPv4 ones are taken."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return [url]
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError:
        return [url]
    kinds = {family for family, *_ in found}
    family = socket.AF_INET if socket.AF_INET in kinds else socket.AF_INET6
    hosts = sorted({str(where[0]) for kind, *_, where in found if kind == family})
    if len(hosts) < 2:
        return [url]
    port = f":{parts.port}" if parts.port else ""
    return [f"http://[{host}]{port}" if ":" in host else f"http://{host}{port}" for host in hosts]


def at_once(planes: Sequence[Plane], read: Callable[[Plane], Any]) -> list[Any]:
    """What each of them says, or the PointsmanError that says why it doesn't. One that hangs holds up no other, and
    Ctrl-C ends it all the same: nobody waits for the threads."""
    if len(planes) == 1:
        return [_asked(planes[0], read)]
    told: SimpleQueue[tuple[int, Any]] = SimpleQueue()

    def ask(number: int, plane: Plane) -> None:
        try:
            told.put((number, _asked(plane, read)))
        except BaseException as error:
            told.put((number, _Unforeseen(error)))

    for number, plane in enumerate(planes):
        threading.Thread(target=ask, args=(number, plane), daemon=True).start()
    found = dict(told.get() for _ in planes)
    for one in found.values():
        if isinstance(one, _Unforeseen):
            raise one.error
    return [found[number] for number in range(len(planes))]


@dataclass(frozen=True, slots=True)
class _Unforeseen:
    """A mistake of ours, in a thread."""

    error: BaseException


def _asked(plane: Plane, read: Callable[[Plane], Any]) -> Any:
    try:
        return read(plane)
    except PointsmanError as error:
        return error


def everywhere(planes: Sequence[Plane], ask: Ask, told: Callable[[Any], str], as_json: bool) -> list[Any]:
    """Asks all of them at a time, so that one that hangs keeps no order from the others; prints each one's answer, and
    returns those. With several, JSON is a list with their URLs. Raises OrderError when one of them didn't do it, once
    all were asked."""
    if len(planes) == 1:
        found = ask(planes[0])
        print_found(found, as_json, told(found))
        return [found]
    answers: list[dict[str, Any]] = []
    for plane, found in zip(planes, at_once(planes, ask), strict=True):
        if isinstance(found, PointsmanError):
            answers.append({"url": plane.url, "answer": None, "error": str(found)})
            text = f"NOT DONE: {found}"
        else:
            answers.append({"url": plane.url, "answer": found, "error": None})
            text = told(found)
        if not as_json:
            print("\n  ".join(map(plain, f"{plane.url}: {text}".split("\n"))), flush=True)
    if as_json:
        print_json(answers)
    failed = [one for one in answers if one["error"]]
    if failed:
        raise OrderError(
            f"{len(failed)} of {len(planes)} control planes didn't do it: {'; '.join(one['error'] for one in failed)}"
        )
    return [one["answer"] for one in answers]


def shown(planes: Sequence[Plane], read: Ask, show: Callable[[Any], None], as_json: bool) -> list[Any]:
    """Reads what each of them keeps by itself, prints each one's, and returns those. With several, JSON is a list with
    their URLs. Raises OrderError when one of them couldn't be read, once the others were shown."""
    answers = at_once(planes, read)
    failed = [one for one in answers if isinstance(one, PointsmanError)]
    if len(failed) == len(planes):
        raise failed[0]
    if as_json:
        each = [
            {"url": plane.url, "answer": None, "error": str(found)}
            if isinstance(found, PointsmanError)
            else {"url": plane.url, "answer": found, "error": None}
            for plane, found in zip(planes, answers, strict=True)
        ]
        print_json(each if len(planes) > 1 else answers[0])
    else:
        for plane, found in zip(planes, answers, strict=True):
            if isinstance(found, PointsmanError):
                continue
            if len(planes) > 1:
                say(styled(f"{plane.url}:", "bold"))
            show(found)
    if failed:
        away = "; ".join(map(str, failed))
        raise OrderError(f"{len(failed)} of {len(planes)} control planes can't be asked: {away}")
    return answers


def from_all(planes: Sequence[Plane], read: Callable[[Plane], Sequence[Any]]) -> tuple[list[Any], list[PointsmanError]]:
    """What all of them have, and why some couldn't be read. That one hasn't got it (404) is no error, unless none has.
    Raises what the first one raised when none could be read."""
    found: list[Any] = []
    errors: list[PointsmanError] = []
    for told in at_once(planes, read):
        if isinstance(told, PointsmanError):
            errors.append(told)
        else:
            found += told
    unread = [error for error in errors if not (isinstance(error, OrderError) and error.status == 404)]
    if len(errors) == len(planes):
        raise (unread or errors)[0]
    return found, unread
