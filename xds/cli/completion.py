"""The command ``pointsman completion``: what a shell needs to complete its words."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated, Any

import typer

from xds.errors import PointsmanError

_PROGRAM, _VARIABLE = "pointsman", "_POINTSMAN_COMPLETE"
_PATIENCE = 1.0
"""Seconds that the control plane has: somebody sits at the keyboard."""
_MOST = 100
_PAGE = 1_000
"""Items of a page, at most."""
_ZSH = f"compdef _{_PROGRAM}_completion {_PROGRAM}"
_ZSH_AT_ONCE = f"""\
if [ "$funcstack[1]" = "_{_PROGRAM}" ]; then
  _{_PROGRAM}_completion "$@"
else
  {_ZSH}
fi"""
"""zsh loads the file when the first completion is asked for, and takes what it does then for the answer: with Typer's
own end the first one would be nothing."""


def prepare() -> None:
    """Makes completions possible, when a shell asks for them."""
    if _VARIABLE in os.environ:
        from typer import completion as scripts

        # Typer's own, of which it doesn't say that they are for others.
        scripts.completion_init()  # type: ignore[attr-defined]


def hosts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Domains that begin so, some of them, as the control plane knows them that the rest of the line is about; none
    when it doesn't answer at once."""
    found = _asked(ctx, "/api/v1/domains", {"prefix": incomplete, "limit": _MOST})
    return sorted({one["domain"] for one in found})


def pods(ctx: typer.Context, incomplete: str) -> list[str]:
    """Pods that begin so."""
    found = _asked(ctx, "/api/v1/pods", {"limit": _PAGE})
    return sorted({one["name"] for one in found if one["name"].startswith(incomplete)})


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Node ids of connected Envoys that begin so."""
    found = _asked(ctx, "/api/v1/nodes", {"limit": _PAGE})
    return sorted({one["node"] for one in found if one["node"].startswith(incomplete)})


def _asked(ctx: typer.Context, path: str, query: dict[str, object]) -> list[dict[str, Any]]:
    """One page of a list of each control plane that the rest of the line is about, and that answers at once."""
    from xds.cli.fleet import at_once, fleet

    given = {name: ctx.params.get(name) for name in ("config", "url", "token_file")}
    url = given["url"] or ()
    try:
        planes = fleet(given["config"], [url] if isinstance(url, str) else url, given["token_file"], patience=_PATIENCE)
        pages = at_once(planes, lambda plane: plane.get(path, query)["items"])
    except PointsmanError:
        return []
    return [one for page in pages if not isinstance(page, PointsmanError) for one in page]


class Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell it is for.")]) -> None:
    """Prints the script with which a shell completes commands, options and, asking the control plane, what it knows.

    That is hosts, pods and the node ids of Envoys.

    Examples:
        pointsman completion bash > ~/.local/share/bash-completion/completions/pointsman
        pointsman completion zsh > ~/.zfunc/_pointsman
        pointsman completion fish > ~/.config/fish/completions/pointsman.fish
    """
    from typer import completion as scripts

    names = {"prog_name": _PROGRAM, "complete_var": _VARIABLE, "shell": shell.value}
    print(scripts.get_completion_script(**names).replace(_ZSH, _ZSH_AT_ONCE))  # type: ignore[attr-defined]
