"""The help of a command without colours and boxes: for pipes, and for `docs/cli.md`."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

WIDTH = 100
_INDENT = 2


def of(command: Any, ctx: Any) -> str:
    """All of it, in the order of what Rich shows."""
    parts = [f"Usage: {usage(command, ctx)}", _text(command.help)]
    for title, rows in sections(command, ctx):
        parts.append("\n".join([f"{title}:", *_rows(rows)]))
    if command.epilog:
        head, *lines = plain(command.epilog).split("\n\n")
        parts.append("\n".join([head, *(f"  {line}" for line in lines)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def usage(command: Any, ctx: Any) -> str:
    words = [ctx.command_path, "[OPTIONS]"]
    for parameter in command.get_params(ctx):
        if parameter.param_type_name == "argument":
            words.append(_name(parameter) if parameter.required else f"[{_name(parameter)}]")
    if hasattr(command, "list_commands"):
        words.append("COMMAND …")
    return " ".join(words)


def sections(command: Any, ctx: Any) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    """Arguments, options and commands by their panels; each row is a name and what it is for."""
    found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        if getattr(parameter, "hidden", False):
            continue
        kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
        panel = getattr(parameter, "rich_help_panel", None) or kind
        found.setdefault(panel, []).append((_name(parameter), _help(parameter)))
    for name in command.list_commands(ctx) if hasattr(command, "list_commands") else ():
        each = command.get_command(ctx, name)
        if not each.hidden:
            panel = getattr(each, "rich_help_panel", None) or "Commands"
            found.setdefault(panel, []).append((name, first(each.help)))
    return {title: rows for title, rows in found.items() if rows}.items()


def plain(text: str | None) -> str:
    return inspect.cleandoc((text or "").replace(r"\[", "["))


def first(text: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join(plain(text).split("\n\n")[0].split())


def _name(parameter: Any) -> str:
    value = str(parameter.metavar or parameter.name.upper())
    if parameter.param_type_name == "argument":
        return value
    names = ", ".join([*sorted(parameter.opts, key=len), *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {value}"


def _help(parameter: Any) -> str:
    text = " ".join(plain(getattr(parameter, "help", "")).split())
    notes = []
    if parameter.envvar:
        notes.append(f"environment: {parameter.envvar}")
    default = parameter.default
    if (
        default not in (None, "", (), False, Ellipsis)
        and getattr(parameter, "show_default", True)
        and not callable(default)
    ):
        notes.append(f"default: {default}")
    if parameter.required:
        notes.append("required")
    return f"{text} [{'; '.join(notes)}]" if notes else text


def _text(text: str | None) -> str:
    return "\n\n".join(textwrap.fill(" ".join(each.split()), WIDTH) for each in plain(text).split("\n\n"))


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    wide = min(28, max(len(name) for name, _ in rows))
    made = []
    for name, text in rows:
        lines = textwrap.wrap(text, WIDTH - wide - 2 * _INDENT) or [""]
        lead = f"{'':{_INDENT}}{name:<{wide}}"
        if len(name) > wide:
            made.append(lead)
            lead = f"{'':{_INDENT + wide}}"
        made.append(f"{lead}{'':{_INDENT}}{lines[0]}".rstrip())
        made += [f"{'':{2 * _INDENT + wide}}{line}" for line in lines[1:]]
    return made
