"""The options that many commands have, the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _first(url: str | None) -> str:
    """The environment may name several, for the commands that ask several."""
    return next(iter((url or "").split()), "")


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="POINTSMAN_CONFIG",
        help="Settings file (TOML) of the control plane; the environment (POINTSMAN_XDS__PORT=…) overrides it.",
        show_default=False,
    ),
]
Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="POINTSMAN_URL",
        help="The control plane's HTTP, where it isn't what the settings say.",
        callback=_first,
        show_default=False,
    ),
]
Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        envvar="POINTSMAN_URL",
        help="The control plane's HTTP, where it isn't what the settings say; several times for several of them.",
        show_default=False,
    ),
]
Token = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="POINTSMAN_TOKEN_FILE",
        help="A file with the token, where it isn't what the settings say.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
