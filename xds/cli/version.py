"""The command ``pointsman version``."""

from __future__ import annotations

from xds import __version__
from xds.cli.options import Json
from xds.cli.output import print_found


def version(as_json: Json = False) -> None:
    """Says which version this is.

    Examples:
        pointsman version
    """
    print_found({"version": __version__}, as_json, __version__)
