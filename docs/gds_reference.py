"""Writes ``docs/gds-openapi.json`` and ``docs/gds-api.md`` from the reference GDS: ``make reference``. A test holds
both against the code."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gds_mock.api import create_app
from gds_mock.opening import open_store

HEAD = """\
# GDS as OpenAPI

What the reference GDS offers, call by call, as it says itself at `/openapi.json`; the same document is here as
[gds-openapi.json](gds-openapi.json). `docs/gds.md` says what the calls mean, and which of them Pointsman needs. Bodies
that are NDJSON or server-sent events are beyond OpenAPI's means: they are described there.

Written by `make reference` from `gds_mock/`.
"""

DOCUMENT = Path(__file__).with_name("gds-openapi.json")
PAGE = Path(__file__).with_name("gds-api.md")


def document() -> str:
    """The OpenAPI document, as JSON."""
    return json.dumps(_document(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """The same for people."""
    return "\n".join([HEAD, *_operations(_document())])


def _document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, open_store(f"{folder}/gds.sqlite") as store:
        return create_app(store).openapi()


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"## {method.upper()} {path}\n"
            if text := operation.get("description") or operation.get("summary"):
                yield f"{text.strip()}\n"
            rows = [
                f"| `{one['name']}` | {one['in']} | {'yes' if one.get('required') else 'no'} | {_kind(one['schema'])} |"
                for one in operation.get("parameters", [])
            ]
            if rows:
                yield "\n".join(["| parameter | in | required | type |", "| --- | --- | --- | --- |", *rows]) + "\n"
            if body := operation.get("requestBody"):
                yield f"Body: {', '.join(f'`{kind}`' for kind in body['content'])}\n"
            answers = [
                f"| `{status}` | {', '.join(f'`{kind}`' for kind in answer.get('content', {})) or 'nothing'} | "
                f"{answer.get('description', '')} |"
                for status, answer in operation["responses"].items()
            ]
            yield "\n".join(["| answer | content | |", "| --- | --- | --- |", *answers]) + "\n"


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    return str(schema.get("type", ""))


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    PAGE.write_text(page())
