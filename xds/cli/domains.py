"""The commands ``pointsman domains``, ``pods`` and ``set-aside``: what the directory says."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.completion import hosts
from xds.cli.completion import pods as pod_names
from xds.cli.fleet import fleet, shown
from xds.cli.options import Config, Json, Token, Url, Urls
from xds.cli.output import WARN, print_json, print_line, progress, say, styled, table
from xds.cli.pasted import host_in
from xds.cli.plane import PAGE, Plane


def domains(
    prefix: Annotated[str | None, typer.Argument(help="Only those that begin so.", autocompletion=hosts)] = None,
    pod: Annotated[
        str, typer.Option("--pod", help="Only those of this pod.", autocompletion=pod_names, show_default=False)
    ] = "",
    most: Annotated[int | None, typer.Option("--most", "-n", min=1, help="At most so many; all unless set.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Only how many.")] = False,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """The domains that are routed, one a line, in no order.

    Each with its pod and the revision at which it last changed; with --json one object a line. They are printed as they
    come, page by page, however many there are.

    Examples:
        pointsman domains acme -c pointsman.toml
        pointsman domains --pod pod3 --count
        pointsman domains --json | jq -r .domain | sort > domains.txt
    """
    plane = Plane(config, url, token_file)
    query = {"limit": min(PAGE, most) if most else PAGE, "prefix": _begins(prefix or ""), "pod": pod}
    if count and not prefix:
        total = plane.get("/api/v1/domains", {**query, "limit": 1})["total"]
        _count(total, as_json)
        return
    total = None
    if not prefix and not most:
        total = plane.get("/api/v1/domains", {**query, "limit": 1})["total"]
    found = islice(plane.items("/api/v1/domains", query), most)
    with progress("domains", total, printing=not count) as told:
        number = 0
        for number, each in enumerate(found, 1):
            if not count:
                _print(each, as_json)
            if number % PAGE == 0:
                told(number)
    if count:
        _count(number, as_json)


def _begins(prefix: str) -> str:
    """As names stand in the directory: a host with other letters than ASCII as clients send it."""
    from xds.gds.model import normalise_host

    name = host_in(prefix)
    return name if name.isascii() else normalise_host(name)


def _count(number: int, as_json: bool) -> None:
    print_line({"domains": number}) if as_json else print(number)


def _print(each: dict[str, Any], as_json: bool) -> None:
    import json

    print(json.dumps(each) if as_json else f"{each['domain']}\t{each['pod']}\t{each['revision']}")


def pods(
    pod: Annotated[str | None, typer.Argument(help="Only this one.", autocompletion=pod_names)] = None,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """The pods: how many domains are on each, and where its endpoints are.

    Examples:
        pointsman pods -c pointsman.toml
        pointsman pods pod3 --json | jq '.[0].endpoints'
    """
    plane = Plane(config, url, token_file)
    if pod is None:
        found = list(plane.items("/api/v1/pods", {"limit": PAGE}))
    else:
        found = [plane.get(plane.path("/api/v1/pods", pod))]
    if as_json:
        print_json(found)
        return
    if not found:
        print("there is no pod")
        return
    table(
        ("pod", "datacenter", "domains", "connections", "endpoints"),
        [
            [
                one["name"],
                one["datacenter"],
                one["domains"],
                one["max_connections"],
                " ".join(_endpoint(each) for each in one["endpoints"]) or styled("none: clients get 503", WARN),
            ]
            for one in found
        ],
        numbers=(2, 3),
    )


def _endpoint(each: dict[str, Any]) -> str:
    address = f"[{each['address']}]" if ":" in each["address"] else each["address"]
    return f"{address}:{each['port']}"


def set_aside(config: Config = None, url: Urls = None, token_file: Token = None, as_json: Json = False) -> None:
    """The records of GDS that can't be used, and why.

    With several control planes (setting http.replicas, or --url several times) those of each: what an Envoy rejects is
    set aside by its own. Exit code 3 when there are any.

    Examples:
        pointsman set-aside -c pointsman.toml
        pointsman set-aside --json | jq -r '.items[].name'
    """
    planes = fleet(config, url or (), token_file)
    found = shown(planes, lambda plane: plane.get("/api/v1/set-aside", {"limit": PAGE}), _show_aside, as_json)
    if any(one["total"] for one in found):
        raise typer.Exit(exits.FOUND)


def _show_aside(found: dict[str, Any]) -> None:
    if not found["total"]:
        print("nothing is set aside")
        return
    rows = [[one["kind"], one["name"], one.get("revision", ""), one["reason"]] for one in found["items"]]
    table(("kind", "name", "revision", "reason"), rows, numbers=(2,))
    if found["total"] > len(rows):
        say(f"{found['total']} in all")
