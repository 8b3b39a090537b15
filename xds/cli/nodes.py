"""The command ``pointsman nodes``: the connected Envoys."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xds.cli import completion, exits
from xds.cli.fleet import fleet, from_all
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, QUIET, WARN, age, print_json, say, styled, table
from xds.cli.plane import Plane


def nodes(
    node: Annotated[
        str | None, typer.Argument(help="Only this one, type by type.", autocompletion=completion.nodes)
    ] = None,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """The connected Envoys: who has everything, who is behind, who rejects what.

    Those that reject something come first, then those that are behind; with --json they are as they came.

    With several control planes (setting http.replicas, or --url several times) those of all of them. Exit code 3 when
    one rejects something, 1 when a control plane doesn't answer.

    Examples:
        pointsman nodes -c pointsman.toml
        pointsman nodes edge-1
        pointsman nodes --json | jq '.[] | select(.converged | not) | .node'
    """
    planes = fleet(config, url or (), token_file)
    found, unasked = from_all(planes, lambda plane: _streams(plane, node))
    if as_json:
        print_json(found)
    elif not found:
        print("no Envoy is connected")
    elif node is None:
        table(
            ("node", "cluster", "peer", "asks", "connected", "state", "sent", "NACKs", "control plane"),
            [_row(each) for each in sorted(found, key=lambda one: (not one["rejecting"], one["converged"]))],
            numbers=(6, 7),
        )
    else:
        for each in found:
            _show(each)
    if unasked:
        raise unasked[0]
    if any(each["rejecting"] for each in found):
        raise typer.Exit(exits.FOUND)


def _streams(plane: Plane, node: str | None) -> list[dict[str, Any]]:
    if node is None:
        found = list(plane.items("/api/v1/nodes"))
    else:
        found = plane.get(plane.path("/api/v1/nodes", node))["streams"]
    return [{**each, "control_plane": plane.url} for each in found]


def state_of(stream: dict[str, Any]) -> Any:
    if stream["rejecting"]:
        return styled("rejects", BAD)
    return styled("has everything", GOOD) if stream["converged"] else styled("behind", WARN)


def _row(each: dict[str, Any]) -> list[Any]:
    types = each["types"]
    return [
        each["node"],
        each["cluster"],
        each["peer"],
        each["variant"],
        age(each["connected_seconds"]),
        state_of(each),
        sum(one["sent"] for one in types),
        sum(one["nacked"] for one in types),
        each["control_plane"],
    ]


def _show(each: dict[str, Any]) -> None:
    say(
        styled(each["node"], "bold"),
        f" in cluster {each['cluster'] or '-'}, {each['user_agent']}, from {each['peer']}, as "
        f"{each['identity'] or 'nobody: plaintext'}, connected {age(each['connected_seconds'])}: ",
        state_of(each),
    )
    table(
        ("type", "asked for", "has", "sent", "ACKs", "NACKs", "under way", "version"),
        [
            [
                one["type"],
                "all" if one["wildcard"] else one["subscribed"],
                one["resources"],
                one["sent"],
                one["acked"],
                styled(one["nacked"], BAD if one["rejecting"] else ""),
                one["in_flight"],
                styled(one["version_acked"], QUIET),
            ]
            for one in each["types"]
        ],
        numbers=(1, 2, 3, 4, 5, 6),
    )
    for one in each["types"]:
        if one["rejecting"]:
            say(styled(f"{one['type']} {', '.join(one['rejected'])}: {one['last_nack']}", BAD))
