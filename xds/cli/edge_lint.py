"""The command ``pointsman edge-lint``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xds.cli import exits
from xds.cli.options import Config, Json


def edge_lint(
    source: Annotated[
        str | None,
        typer.Argument(help="Envoy's admin interface (http://127.0.0.1:9901), or a file of its /config_dump."),
    ] = None,
    bootstrap: Annotated[
        Path | None, typer.Option("--bootstrap", "-b", help="Without SOURCE: the bootstrap file of an Envoy to be.")
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            "--snapshot",
            "-s",
            help="With --bootstrap: a file of what GDS answers to GET /backends. Without: one domain.",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Says of each row of the edge's checklist whether an Envoy holds it.

    Exit code 3 when one is broken. With --bootstrap, what is judged is what that Envoy would be sent: made as the
    control plane makes it, of the settings in --config and the domains and pods in --snapshot.

    Examples:
        pointsman edge-lint http://127.0.0.1:9901
        pointsman edge-lint --bootstrap envoy.yaml --config pointsman.toml
        curl -s http://gds/backends > backends.ndjson
        pointsman edge-lint --bootstrap envoy.yaml --config pointsman.toml --snapshot backends.ndjson
    """
    from xds.lint import report

    verdicts = report.verdicts_of(source, bootstrap, config, snapshot)
    print(report.as_json(verdicts) if as_json else report.as_text(verdicts))
    if any(verdict.status == "broken" for verdict in verdicts):
        raise typer.Exit(exits.FOUND)
