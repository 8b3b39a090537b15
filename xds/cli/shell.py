"""Between the shell and a command: its help, its one line of error, its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from xds.cli import completion, exits, plain_help
from xds.cli.output import plain, plain_terminal, prepare
from xds.errors import PointsmanError

EXAMPLES = "Examples:"
_WRONG_WORDS = typer.BadParameter.__mro__[2]  # the base of what Typer says of a command line; its module is private
_DEBUG = "POINTSMAN_DEBUG"


class Command(TyperCommand):
    """One command; its docstring ends with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if plain_terminal():
            print(plain_help.of(self, ctx), end="")
        else:
            super().format_help(ctx, formatter)


class Group(TyperGroup):
    """The root, and groups of commands. Whatever a command raises ends here: in one line, and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        prepare()
        completion.prepare()
        sys.exit(_ended(lambda: super(Group, self).main(args, "pointsman", complete_var, False, **extra)))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _Closed from None  # Typer would make of it an exit code that says nothing

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if plain_terminal():
            print(plain_help.of(self, ctx), end="")
        else:
            super().format_help(ctx, formatter)


class _Closed(Exception):
    """Who read our output went away."""


def _ended(run: Callable[[], Any]) -> int:
    """The exit code of ``run``, which raises or returns one."""
    try:
        code = run()
        sys.stdout.flush()
        return code if isinstance(code, int) else exits.OK
    except PointsmanError as error:
        return _failed(str(error))
    except (_Closed, BrokenPipeError):
        # What is still buffered can't be written either, and Python would say so at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.CLOSED
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except OSError as error:
        return _failed(f"{error.filename or 'stdout'}: {error.strerror or error}")
    except Exception as error:
        if isinstance(error, _WRONG_WORDS):
            return _usage(error)
        if os.environ.get(_DEBUG) or "serve" in sys.argv[1:2]:
            raise
        return _failed(f"a mistake of its own: {type(error).__name__}: {error} ({_DEBUG}=1 shows where; please report)")


def _failed(message: str) -> int:
    _say(message)
    return exits.FAILED


def _usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), end="", file=sys.stderr)
        return exits.USAGE
    where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
    _say(f"{error.format_message().rstrip('.')}{where}")
    return exits.USAGE


def _say(message: str) -> None:
    print(f"pointsman: {' '.join(plain(message).split())}", file=sys.stderr)


def examples_of(function: Callable[..., None]) -> tuple[str, list[str]]:
    """What a command's docstring says before its examples, and these, one a line."""
    text, _, rest = (function.__doc__ or "").partition(EXAMPLES)
    return text.strip(), [line.strip() for line in rest.splitlines() if line.strip()]


def add(app: typer.Typer, name: str, panel: str, function: Callable[..., None]) -> None:
    """Makes ``function`` the command ``name``."""
    text, examples = examples_of(function)
    app.command(
        name,
        cls=Command,
        help=_escaped(text),
        epilog=_escaped("\n\n".join([EXAMPLES, *examples])),
        rich_help_panel=panel or None,
    )(function)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
