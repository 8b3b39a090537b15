"""The commands ``pointsman hold`` and ``pointsman rollback``: a running control plane is asked over its own HTTP.

Where that is, and the token, come from the same settings file. Exit codes: 0 done (`hold show`: nothing is held),
1 it can't be done, 3 something is held.
"""

from __future__ import annotations

import getpass
import ipaddress
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from xds.errors import OrderError, PointsmanError

HELD = 3

hold = typer.Typer(help="What of GDS is held back from the edge: show it, release it, refuse it.", no_args_is_help=True)
rollback = typer.Typer(help="Earlier states of the directory: list them, go back to one.", no_args_is_help=True)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The settings file of the control plane; says where it is.")
]
Url = Annotated[str, typer.Option("--url", help="The control plane's HTTP, when it isn't what the settings say.")]
Token = Annotated[Path | None, typer.Option("--token-file", help="Another file with the token.")]
Json = Annotated[bool, typer.Option("--json", help="The API's answer, as it came.")]


@hold.command("show")
def show(config: Config = None, url: Url = "", as_json: Json = False) -> None:
    """What is held, and why. Exit code 3 when something is."""
    found = _asked(_Plane(config, url), "GET", "/api/v1/hold")
    _print(found, as_json, _told(found))
    if found["state"] == "held":
        raise typer.Exit(HELD)


@hold.command("release")
def release(config: Config = None, url: Url = "", token_file: Token = None, as_json: Json = False) -> None:
    """GDS's newest state goes to the edge."""
    found = _asked(_Plane(config, url, token_file), "POST", "/api/v1/hold/release", {})
    _print(found, as_json, "released")


@hold.command("refuse")
def refuse(config: Config = None, url: Url = "", token_file: Token = None, as_json: Json = False) -> None:
    """What is held isn't taken; the edge stays as it is until GDS was put right."""
    found = _asked(_Plane(config, url, token_file), "POST", "/api/v1/hold/refuse", {})
    _print(found, as_json, _told(found))


@rollback.command("list")
def states(
    config: Config = None,
    url: Url = "",
    most: Annotated[int, typer.Option("--most", "-n", help="How many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """The states that can be gone back to, the newest first."""
    found = _asked(_Plane(config, url), "GET", f"/api/v1/states?most={most}")
    lines = [f"{'revision':>12}  {'when (UTC)':19}  {'domains':>9}  epoch"]
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one["at"]))
        domains = "" if one["domains"] is None else one["domains"]
        lines.append(f"{one['revision']:>12}  {when}  {domains:>9}  {one['epoch']}")
    _print(found, as_json, "\n".join(lines))


@rollback.command("to")
def to(
    revision: Annotated[str, typer.Argument(help="REVISION, or EPOCH:REVISION where several epochs had it.")],
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Takes the edge back to that revision. GDS doesn't overwrite it until `pointsman hold release`."""
    epoch, _, number = revision.rpartition(":")
    if not number.isdecimal():
        _fail(f"{revision!r} is not a revision: a number, or EPOCH:NUMBER (see `pointsman rollback list`)")
    order = {"revision": int(number), "epoch": epoch}
    found = _asked(_Plane(config, url, token_file), "POST", "/api/v1/rollback", order)
    _print(found, as_json, _told(found))


@dataclass(frozen=True, slots=True)
class _Plane:
    config: Path | None
    url: str = ""
    token_file: Path | None = None


def _asked(plane: _Plane, method: str, path: str, order: dict[str, Any] | None = None) -> Any:
    try:
        return _answer(plane, method, path, order)
    except PointsmanError as error:
        _fail(str(error))


def _answer(plane: _Plane, method: str, path: str, order: dict[str, Any] | None) -> Any:
    import httpx

    from xds import settings, tokens

    loaded = None if plane.url and (plane.token_file or order is None) else settings.load(plane.config)
    base, headers, body = plane.url.rstrip("/"), {}, None
    if not base:
        assert loaded
        address = loaded.http.address
        if (bound := ipaddress.ip_address(address)).is_unspecified:
            address = "127.0.0.1" if bound.version == 4 else "::1"
        base = f"http://[{address}]:{loaded.http.port}" if ":" in address else f"http://{address}:{loaded.http.port}"
    if order is not None:
        file = plane.token_file or (loaded and (loaded.http.token_file or loaded.state.folder / tokens.FILE))
        headers["authorization"] = f"Bearer {tokens.read(file)}" if file else ""
        body = {**order, "by": f"{_user()}@{socket.gethostname()}"[:200]}
    try:
        answer = httpx.request(method, f"{base}{path}", json=body, headers=headers, timeout=60, trust_env=False)
        found = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise OrderError(f"the control plane at {base} doesn't answer: {error}: does it run? (option --url)") from None
    if answer.status_code != 200:
        detail = found.get("detail", found) if isinstance(found, dict) else found
        raise OrderError(f"the control plane at {base} says {answer.status_code}: {detail}")
    return found


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _told(found: dict[str, Any]) -> str:
    if found["state"] == "none":
        return "nothing is held"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found["since"]))
    lines = [f"{found['state']} since {since} ({found['reason']}): {found['text']}"]
    changes = found["changes"]
    if changes is None:
        lines.append("GDS hasn't answered since the start: what a release would do isn't known yet")
    else:
        lines.append(
            f"a release would move {changes['moved']} domains, remove {changes['removed']} and add {changes['added']}, "
            f"remove {changes['pods_removed']} pods and change {changes['pods_changed']}"
        )
    for one in found["examples"]:
        lines.append(f"  {one['domain']}: {one['edge'] or 'not routed'} → {one['gds'] or 'not routed'}")
    return "\n".join(lines)


def _print(found: Any, as_json: bool, text: str) -> None:
    print(json.dumps(found, indent=2) if as_json else text)


def _fail(message: str) -> Any:
    print(f"pointsman: {message}", file=sys.stderr)
    raise typer.Exit(1)
