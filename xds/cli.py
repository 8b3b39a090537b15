"""The command ``pointsman``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from xds import __version__, logs, orders
from xds.errors import PointsmanError

app = typer.Typer(
    name="pointsman",
    help="An external Envoy control plane that routes every customer domain to its pod.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(orders.hold, name="hold")
app.add_typer(orders.rollback, name="rollback")


@app.callback()
def main() -> None:
    """An external Envoy control plane that routes every customer domain to its pod."""


@app.command()
def serve(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Settings file (TOML); the environment (POINTSMAN_XDS__PORT=…) overrides it."
        ),
    ] = None,
) -> None:
    """Follows GDS and serves xDS until SIGTERM or Ctrl-C."""
    # gRPC's core writes lines of its own to stderr, also for what is told below in one line and in our words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from xds import control_plane, settings  # what takes long to import is not needed for --help

    try:
        loaded = settings.load(config)
        logs.configure(loaded.log.level, loaded.log.format)
        asyncio.run(control_plane.run(loaded))
    except PointsmanError as error:
        print(f"pointsman: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command("edge-lint")
def edge_lint(
    source: Annotated[
        str | None,
        typer.Argument(help="Envoy's admin interface (http://127.0.0.1:9901), or a file of its /config_dump."),
    ] = None,
    bootstrap: Annotated[
        Path | None, typer.Option("--bootstrap", "-b", help="Without SOURCE: the bootstrap file of an Envoy to be.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Without SOURCE: the settings that it would be told by.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Says of each row of the edge's checklist whether an Envoy holds it: 0 all, 1 not all, 2 it can't be read."""
    from xds.lint import report

    try:
        verdicts = report.verdicts_of(source, bootstrap, config)
    except PointsmanError as error:
        print(f"pointsman: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(report.as_json(verdicts) if as_json else report.as_text(verdicts))
    raise typer.Exit(int(any(verdict.status == "broken" for verdict in verdicts)))


@app.command()
def version() -> None:
    """Says which version this is."""
    print(__version__)


if __name__ == "__main__":
    app()
