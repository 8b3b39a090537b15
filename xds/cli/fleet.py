"""An order to every control plane of an edge: they share nothing, so each is asked by itself, and each is reported.

What one of them can't do is no reason not to ask the others: the order is given to all, and then it is said where it
wasn't done.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xds.cli.output import plain, print_found, print_json
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
    """What each of them says, or the PointsmanError that says why it doesn't. One that hangs holds up no other."""

    def asked(plane: Plane) -> Any:
        try:
            return read(plane)
        except PointsmanError as error:
            return error

    with ThreadPoolExecutor(len(planes)) as threads:
        return [*threads.map(asked, planes)]


def everywhere(planes: Sequence[Plane], ask: Ask, told: Callable[[Any], str], as_json: bool) -> list[Any]:
    """Asks all of them, prints each one's answer, and returns those. With several, JSON is a list with their URLs.
    Raises OrderError when one of them didn't do it, once all were asked."""
    if len(planes) == 1:
        found = ask(planes[0])
        print_found(found, as_json, told(found))
        return [found]
    answers: list[dict[str, Any]] = []
    for plane in planes:
        try:
            answers.append({"url": plane.url, "answer": (found := ask(plane)), "error": None})
            text = told(found)
        except PointsmanError as error:
            answers.append({"url": plane.url, "answer": None, "error": str(error)})
            text = f"NOT DONE: {error}"
        if not as_json:
            print(f"{plane.url}: {plain(text)}", flush=True)
    if as_json:
        print_json(answers)
    failed = [one for one in answers if one["error"]]
    if failed:
        raise OrderError(
            f"{len(failed)} of {len(planes)} control planes didn't do it: {'; '.join(one['error'] for one in failed)}"
        )
    return [one["answer"] for one in answers]


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
