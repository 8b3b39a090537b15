"""The command ``pointsman completion``: what a shell needs to complete its words."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from xds.errors import PointsmanError

_PROGRAM, _VARIABLE = "pointsman", "_POINTSMAN_COMPLETE"
_PATIENCE = 1.0
"""Seconds that the control plane has: somebody sits at the keyboard."""
_MOST = 100
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
    from xds.cli.plane import Plane

    given = {name: ctx.params.get(name) for name in ("config", "url", "token_file")}
    plane = Plane(given["config"], given["url"] or "", given["token_file"], patience=_PATIENCE)
    try:
        page = plane.get("/api/v1/domains", {"prefix": incomplete, "limit": _MOST})
    except PointsmanError:
        return []
    return sorted(one["domain"] for one in page["items"])


class Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell it is for.")]) -> None:
    """Prints the script with which a shell completes commands, options and, asking the control plane, hosts.

    Examples:
        pointsman completion bash > ~/.local/share/bash-completion/completions/pointsman
        pointsman completion zsh > ~/.zfunc/_pointsman
        pointsman completion fish > ~/.config/fish/completions/pointsman.fish
    """
    from typer import completion as scripts

    names = {"prog_name": _PROGRAM, "complete_var": _VARIABLE, "shell": shell.value}
    print(scripts.get_completion_script(**names).replace(_ZSH, _ZSH_AT_ONCE))  # type: ignore[attr-defined]
