"""Writes ``docs/settings.md`` from the settings themselves: ``make reference``. A test holds it against the code."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from xds.settings import Rule, Settings

HEAD = """\
# Settings

One TOML file, given with `--config`; relative paths in it are relative to the file. Every setting can come from the
environment instead, which has the last word: `xds.limits.names` is `POINTSMAN_XDS__LIMITS__NAMES`. A name that isn't
listed here is an error. Sizes are bytes, times are seconds unless the name says otherwise.

Written by `make reference` from `xds/settings.py` and what it is made of.
"""

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
            yield name, field.annotation, field.default
    else:
        for each in dataclasses.fields(part):
            yield each.name, type(each.default), each.default


def _text(part: type) -> str:
    text = re.sub(r"``(.+?)``", r"`\1`", inspect.getdoc(part) or "")
    return re.sub(r"^`", "- `", text, flags=re.MULTILINE)


def _kind(kind: Any) -> str:
    if get_origin(kind) in (Union, Annotated):  # of a setting that may be left out, or one with bounds
        return _kind(get_args(kind)[0])
    text = kind.__name__ if isinstance(kind, type) else re.sub(r"\w+\.|typing\.", "", str(kind))
    text = re.sub(r"^Literal\[(.*)\]$", lambda found: " or ".join(found[1].replace("'", "`").split(", ")), text)
    return text.replace(" | None", "").replace("HttpUrl", "URL").replace("tuple[Path, ...]", "Path, or several")


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "must be given"
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    TARGET.write_text(pages())
