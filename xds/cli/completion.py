"""The command ``pointsman completion``: what a shell needs to complete its words."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

_PROGRAM, _VARIABLE = "pointsman", "_POINTSMAN_COMPLETE"


def prepare() -> None:
    """Makes completions possible, when a shell asks for them."""
    if _VARIABLE in os.environ:
        from typer import completion as scripts

        # Typer's own, of which it doesn't say that they are for others.
        scripts.completion_init()  # type: ignore[attr-defined]


class Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell it is for.")]) -> None:
    """Prints the script with which a shell completes commands and options.

    Examples:
        pointsman completion bash > ~/.local/share/bash-completion/completions/pointsman
        pointsman completion zsh > ~/.zfunc/_pointsman
        pointsman completion fish > ~/.config/fish/completions/pointsman.fish
    """
    from typer import completion as scripts

    names = {"prog_name": _PROGRAM, "complete_var": _VARIABLE, "shell": shell.value}
    print(scripts.get_completion_script(**names))  # type: ignore[attr-defined]
