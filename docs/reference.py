"""Writes ``docs/settings.md`` and ``docs/cli.md`` from the code: ``make reference``. Tests hold them against it."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from xds.cli import exits, plain_help
from xds.cli.app import app
from xds.settings import Rule, Settings

HEAD = """\
# Settings

One TOML file, given with `--config`; relative paths in it are relative to the file. Every setting can come from the
environment instead, which has the last word: `xds.limits.names` is `POINTSMAN_XDS__LIMITS__NAMES`. A name that isn't
listed here is an error. Sizes are bytes, times are seconds unless the name says otherwise.

Written by `make reference` from `xds/settings.py` and what it is made of.
"""

_POINT = re.compile(r"`[\w.]+`(, `[\w.]+`)*:")
_LIMITS = "ge", "gt", "le", "lt"
TARGET = Path(__file__).with_name("settings.md")


def pages() -> str:
    """The whole file."""
    return "\n".join([HEAD, *_sections(Settings, ())])


def _sections(part: type, path: tuple[str, ...]) -> Iterator[str]:
    inner: list[tuple[tuple[str, ...], type]] = []
    rows: list[str] = []
    for name, kind, default in _fields(part):
        if isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)):
            inner.append(((*path, name), kind))
        elif kind == tuple[Rule, ...]:
            inner.append(((*path, f"{name}[]"), Rule))
        else:
            rows.append(f"| `{name}` | {_kind(kind)} | {_default(default)} |")
    if path:
        yield f"## {'.'.join(path)}\n"
        yield f"{_text(part)}\n"
        if rows:
            yield "\n".join(["| setting | type | default |", "| --- | --- | --- |", *rows]) + "\n"
    for deeper, kind in inner:
        yield from _sections(kind, deeper)


def _fields(part: type) -> Iterator[tuple[str, Any, Any]]:
    if issubclass(part, BaseModel):
        for name, field in part.model_fields.items():
            bounded = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            yield name, bounded, field.default
    else:
        for each in dataclasses.fields(part):
            yield each.name, type(each.default), each.default


def _text(part: type) -> str:
    """Its docstring; what is said of a setting is a point of a list, and no line that only goes on with a name is."""
    lines = re.sub(r"``(.+?)``", r"`\1`", inspect.getdoc(part) or "").splitlines()
    written: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        begins = _POINT.match(line) and (not before or before.endswith("."))
        written += ["", f"- {line}"] if begins and before else [f"- {line}" if begins else line]
    return "\n".join(written)


def _kind(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        inner, *bounds = get_args(kind)
        return _kind(inner) + _bounds(bounds)
    if get_origin(kind) in (Union, UnionType):  # of a setting that may be left out
        return " or ".join(_kind(each) for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple and get_args(kind)[0] is not Path:
        return f"list of {_kind(get_args(kind)[0])}"
    text = kind.__name__ if isinstance(kind, type) else re.sub(r"\w+\.|typing\.", "", str(kind))
    text = re.sub(r"^Literal\[(.*)\]$", lambda found: " or ".join(found[1].replace("'", "`").split(", ")), text)
    return text.replace(" | None", "").replace("HttpUrl", "URL").replace("tuple[Path, ...]", "Path, or several")


def _bounds(held: Iterable[Any]) -> str:
    """Of a number, such as ", 1 to 100"."""
    constraints = [each for one in held for each in (one.metadata if isinstance(one, FieldInfo) else [one])]
    known = {
        name: value for each in constraints for name in _LIMITS if (value := getattr(each, name, None)) is not None
    }
    least, most = known.get("ge", known.get("gt")), known.get("le", known.get("lt"))
    above = "more than " if "gt" in known else ""
    if least is not None and most is not None:
        return f", {above}{least:,} to {'less than ' if 'lt' in known else ''}{most:,}"
    if least is not None:
        return f", {above or 'at least '}{least:,}"
    return "" if most is None else f", {'less than' if 'lt' in known else 'at most'} {most:,}"


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "must be given"
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


CLI_HEAD = """\
# The command line

`pointsman` runs the control plane, looks at one that runs, and says what to do. Commands that ask a running control
plane find it by its settings file (`--config`, or `POINTSMAN_CONFIG`), or by `--url` (`POINTSMAN_URL`); what changes
something needs the token, which is read from where the settings say, or from `--token-file` (`POINTSMAN_TOKEN_FILE`).
Over HTTPS the certificate that the settings name is trusted; with `--url`, what the system trusts, or `SSL_CERT_FILE`.
A client certificate (setting `http.client_ca`) does instead of the token: `POINTSMAN_CLIENT_CERTIFICATE` and
`POINTSMAN_CLIENT_KEY` name the files to show. `POINTSMAN_URL` may name several control planes, with spaces between
them; a command that asks only one asks the first.

- Every command has `--json`, but for `serve`, `completion`, and `import haproxy-cfg`, which prints JSON anyway: JSON on
  stdout and nothing else there. Streams (`domains`, `watch`) are one object a line.
- Errors are one line on stderr that says what was wrong and what to do.
- Where stdout isn't a terminal there are no colours and no boxes, and nothing is cut. `NO_COLOR` is heeded. A terminal
  without UTF-8 gets plainer characters, one that is too narrow for a table a line for each cell.
- Long work shows its progress on stderr, where that is a terminal.
- `pointsman completion bash` (zsh, fish) prints the completion for a shell: commands, options, and hosts, pods and
  Envoys, for which the control planes are asked that the line names, or the environment.

Written by `make reference` from `xds/cli/`.

## Exit codes

The same for every command.

| code | means |
| --- | --- |
"""

CLI_TARGET = Path(__file__).with_name("cli.md")


def cli_page() -> str:
    """The whole of ``docs/cli.md``."""
    rows = [f"| {code} | {meaning} |" for code, meaning in exits.MEANINGS.items()]
    root = typer.Context(app, info_name="pointsman")
    return CLI_HEAD + "\n".join([*rows, "", *_help(app, root)]) + "\n"


def _help(command: Any, ctx: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for title, names in _panels(command).items():
            if title:
                yield f"## {title}\n"
            for name in names:
                inner = command.commands[name]
                yield from _help(inner, typer.Context(inner, info_name=name, parent=ctx))
        return
    yield f"### {ctx.command_path}\n"
    yield "```text"
    yield plain_help.of(command, ctx).rstrip()
    yield "```\n"


def _panels(group: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        found.setdefault(command.rich_help_panel or "", []).append(name)
    return found


if __name__ == "__main__":
    TARGET.write_text(pages())
    CLI_TARGET.write_text(cli_page())
