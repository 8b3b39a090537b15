"""What the documents name is there: commands and their options, settings, calls of the API, files, make's targets."""

from __future__ import annotations

import dataclasses
import re
import shlex
import tomllib
import types
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel, TypeAdapter

from xds.cli.app import app
from xds.cli.shell import Group
from xds.http import preload
from xds.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")),
]
OPS = sorted(path for path in (ROOT / "ops").rglob("*") if path.suffix in (".yml", ".yaml", ".service"))
BEFORE = {"sudo", "runuser", "kubectl", "docker", "xargs", "exec"}
"""What may run another command."""
WRONG_WORDS = typer.BadParameter.__mro__[2]
ROUTES = re.compile(r"@api\.\w+\(\s*\"([^\"]*)\"")
PREFIX = re.compile(r"APIRouter\(\s*prefix=\"([^\"]*)\"")
of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
of_each_file = pytest.mark.parametrize("page", [*PAGES, *OPS], ids=lambda page: page.name)


def blocks(text: str) -> list[str]:
    """What is set apart: by four spaces or more, or between fences."""
    indented = re.findall(r"(?:^(?: {4,}.*)?\n)+", text, re.MULTILINE)
    return [
        *(one for one in indented if one.strip()),
        *re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL),
    ]


def quoted(text: str) -> list[str]:
    """What stands in code quotes within the text."""
    prose = re.sub(r"^(?: {4,}.*)?\n", "", text, flags=re.MULTILINE)
    return [" ".join(one.split()) for one in re.findall(r"`([^`]+)`", prose)]


def commands(line: str) -> Iterator[list[str]]:
    """The words after `pointsman`, wherever a line of a shell runs it."""
    line = re.sub(r"\s#.*$", "", line.strip())
    for part in re.split(r"\|\|?|&&|;|\$\((?=pointsman)", line):
        part = re.sub(r"\s*(?:\d?>>?|<)\s*\S+", "", part)
        try:
            words = shlex.split(part)
        except ValueError:
            continue
        if words[:1] and words[0] in BEFORE and "--" in words:
            words = words[words.index("--") + 1 :]
        ran = [number for number, word in enumerate(words) if Path(word).name == "pointsman"]
        ran = ran[1:] if "compose" in words else ran  # the first is the service
        if ran and (ran[0] == 0 or words[0] in BEFORE):
            yield [*words[ran[0] + 1 :], *(["HOST"] if words[0] == "xargs" else [])]


def misunderstood(words: list[str], *, whole: bool) -> str:
    """Why the command line would be refused; empty when it wouldn't. Not ``whole``: more words may have to follow."""
    command: Any = app
    rest = [re.sub(r"^[A-Z][A-Z_]*$|^\$\w+$|^…$", "1", word) for word in words if word not in ("…", "...")]
    while isinstance(command, Group):
        if not rest or rest[0].startswith("-"):
            return "" if not whole or rest[:1] == ["--help"] else "a command is missing"
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    try:
        command.make_context(command.name, rest)
    except WRONG_WORDS as error:
        missing = type(error).__name__ in ("MissingParameter", "BadOptionUsage")
        return "" if missing and not whole else str(error.format_message())  # type: ignore[attr-defined]
    return ""


@of_each_page
def test_a_command_that_is_shown_is_understood(page: Path) -> None:
    for block in blocks(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            for words in commands(line):
                assert misunderstood(words, whole=True) == "", line


@of_each_file
def test_a_command_that_is_named_is_one(page: Path) -> None:
    for quote in quoted(page.read_text()):
        for words in commands(quote):
            assert misunderstood(words, whole=False) == "", quote


def setting(path: list[str], part: Any = Settings) -> Any:
    """The type of what stands there; None when there is no such setting."""
    for name in path:
        part = _bare(part)
        if isinstance(part, type) and issubclass(part, BaseModel):
            if name not in part.model_fields:
                return None
            field = part.model_fields[name]
            part = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        elif dataclasses.is_dataclass(part):
            fields = {field.name: field for field in dataclasses.fields(part)}
            if name not in fields:
                return None
            part = _hints(part)[name]
        elif get_origin(part) is dict:
            part = get_args(part)[1]
        else:
            return None
    return part


def _bare(part: Any) -> Any:
    """Without what it may be besides, and of several the one."""
    while True:
        if get_origin(part) is Annotated:
            part = get_args(part)[0]
        elif get_origin(part) in (Union, types.UnionType):
            part = next(one for one in get_args(part) if one is not type(None))
        elif (
            get_origin(part) is tuple
            and isinstance(get_args(part)[0], type)
            and issubclass(get_args(part)[0], BaseModel)
        ):
            part = get_args(part)[0]
        else:
            return part


def _hints(part: Any) -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(part, include_extras=True)


def leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    for name, value in table.items():
        for one in value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]:
            if isinstance(one, dict):
                yield from leaves(one, (*path, name))
            else:
                yield [*path, name], one


@of_each_page
def test_a_setting_that_is_shown_is_taken(page: Path) -> None:
    for block in blocks(page.read_text()):
        if re.search(r"^\s*\[+[\w.]+\]+", block, re.MULTILINE) and "= " in block and page.name != "settings.md":
            for path, value in leaves(tomllib.loads(re.sub(r"^\s+", "", block, flags=re.MULTILINE))):
                kind = setting(path)
                assert kind is not None, path
                TypeAdapter(kind).validate_python(value)


@of_each_file
def test_a_setting_that_is_named_is_one(page: Path) -> None:
    events = set(
        re.findall(r"log\.\w+\(\s*\"([\w.]+)\"", "".join(one.read_text() for one in (ROOT / "xds").rglob("*.py")))
    )
    bootstrap = (ROOT / "envoy" / "envoy.yaml").read_text()
    sections = "|".join(Settings.model_fields)
    for name in re.findall(rf"`((?:{sections})(?:\.[a-z_]+)+)(?: = [^`]*)?`", page.read_text()):
        known = name in events or (ROOT / name).exists() or name in bootstrap
        assert known or setting(name.split(".")) is not None, name


@of_each_file
def test_a_variable_of_the_environment_is_a_setting(page: Path) -> None:
    for name in re.findall(r"\bPOINTSMAN_([A-Z]+__[A-Z_]+)", page.read_text()):
        assert setting(name.lower().split("__")) is not None, name


@of_each_page
def test_a_file_that_is_named_is_there(page: Path) -> None:
    rooms = "xds|ops|docs|tests|bench|envoy|demo|gds_mock"
    for name in re.findall(rf"`((?:{rooms})/[\w./*-]*)`", page.read_text()):
        assert [*ROOT.glob(name.rstrip("/"))], name


@of_each_file
def test_what_make_is_told_and_python_runs_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    for target in re.findall(r"(?:^ {4,}|`)make ([\w-]+)", text, re.MULTILINE):
        assert target in targets, target
    for module in re.findall(r"python3? -m ((?:bench|demo|gds_mock|xds)[\w.]*)", text):
        assert find_spec(module) is not None, module


def routes() -> list[str]:
    """Of every router, whichever mode a control plane is in."""
    found = [preload.PATH]
    for module in (ROOT / "xds" / "http").rglob("*.py"):
        text = module.read_text()
        for prefix in PREFIX.findall(text):
            found += [prefix + path for path in ROUTES.findall(text)]
    return found


@of_each_file
def test_a_call_of_the_api_that_is_named_is_one(page: Path) -> None:
    known = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", route)) for route in routes()]
    for named in re.findall(r"/api/v1(?:/[\w{}$.*:-]+)*", page.read_text()):
        path = named.rstrip(".:")
        assert path == "/api/v1" or any(route.fullmatch(path) for route in known), path
