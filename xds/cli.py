"""The command ``pointsman``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from xds import __version__, logs
from xds.errors import PointsmanError

app = typer.Typer(
    name="pointsman",
    help="An external Envoy control plane that routes every customer domain to its pod.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


@app.command()
def version() -> None:
    """Says which version this is."""
    print(__version__)


if __name__ == "__main__":
    app()
