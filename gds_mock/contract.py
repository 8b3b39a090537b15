"""The contract as OpenAPI: what each call takes and answers, which the handlers, that work on bytes, can't say."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gds_mock.authorship import LONGEST

JSON, NDJSON, TEXT, EVENTS = "application/json", "application/x-ndjson", "text/plain", "text/event-stream"
PROBLEM = "application/problem+json"

TEXTS = {
    400: "What was sent can't be understood, or isn't what it should be.",
    404: "There is none of this name.",
    410: "That history is gone, or the epoch is another: take a new snapshot.",
    412: "It isn't at the revision that `If-Match` names.",
    413: "The body is too large.",
    503: "The store can't be read or written now.",
}

Answers = dict[int, tuple[str, str]]
"""By status: the content type, empty for none, and when it is answered so."""

CALLS: dict[str, tuple[str, Answers, dict[int, str]]] = {
    "GET /backend/{host}": (
        "",
        {200: (TEXT, "The pod's name; as JSON the entry that says so.")},
        {400: "", 404: "", 503: ""},
    ),
    "PUT /backend/{host}": (
        JSON,
        {200: (JSON, "The domain was there."), 201: (JSON, "The domain is new.")},
        {400: "", 409: "There is no such pod.", 412: "", 413: "", 503: ""},
    ),
    "DELETE /backend/{host}": ("", {204: ("", "It is forgotten.")}, {400: "", 404: "", 412: "", 503: ""}),
    "GET /backends": (
        "",
        {
            200: (
                NDJSON,
                "First `{epoch, revision, domains, pods}`, then a line `{domain, pod}` for each domain, sorted.",
            )
        },
        {503: ""},
    ),
    "POST /backends": (
        NDJSON,
        {200: (JSON, "All of it was applied, as one revision.")},
        {400: "Nothing was applied: each bad line is named in `errors`.", 503: ""},
    ),
    "GET /pods": ("", {200: (JSON, "All pods.")}, {503: ""}),
    "GET /pods/{name}": ("", {200: (JSON, "The pod.")}, {404: "", 503: ""}),
    "PUT /pods/{name}": (
        JSON,
        {200: (JSON, "The pod was there."), 201: (JSON, "The pod is new.")},
        {400: "", 413: "", 503: ""},
    ),
    "DELETE /pods/{name}": (
        "",
        {204: ("", "It is deleted.")},
        {400: "", 404: "", 409: "Domains live on it.", 503: ""},
    ),
    "GET /watch": (
        "",
        {200: (EVENTS, "Events `change` and `heartbeat`, for as long as it is read.")},
        {400: "", 410: "", 503: ""},
    ),
    "GET /healthz": ("", {200: (JSON, "The store answers.")}, {503: ""}),
}

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": 0}
_PLACEMENT = {"type": "object", "required": ["pod"], "properties": {"pod": _TEXT}, "additionalProperties": False}
_POD = {
    "type": "object",
    "required": ["endpoints"],
    "properties": {
        "name": _TEXT,
        "datacenter": _TEXT,
        "max_connections": _WHOLE,
        "endpoints": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["address", "port"],
                "properties": {"address": _TEXT, "port": _WHOLE, "zone": _TEXT, "weight": _WHOLE},
            },
        },
    },
}
_ENTRY = {
    "type": "object",
    "required": ["domain", "pod", "revision"],
    "properties": {
        "domain": _TEXT,
        "pod": _TEXT,
        "revision": _WHOLE,
        "by": {"type": "string", "maxLength": LONGEST, "description": "who put it there; missing: nobody said so"},
        "at": {"type": "string", "format": "date-time", "description": "when, in UTC; missing: it isn't known"},
    },
}
_ENTRIES = {"GET /backend/{host}": {JSON: {"schema": _ENTRY}}}
"""What else a call answers with 200, when it is asked for that."""
_BODIES = {"PUT /backend/{host}": _PLACEMENT, "PUT /pods/{name}": _POD, "POST /backends": _TEXT}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {"type": _TEXT, "title": _TEXT, "status": _WHOLE, "detail": _TEXT},
}


def install(app: FastAPI, base: str) -> None:
    """``/openapi.json`` says all of it; ``base`` stands before each call's path."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(get_openapi(title=app.title, version="1", routes=app.routes), base)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _described(document: dict[str, Any], base: str) -> dict[str, Any]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            call = f"{method.upper()} {path.removeprefix(base)}"
            body, answers, problems = CALLS[call]
            if body:
                schema = _BODIES[call]
                operation["requestBody"] = {"required": True, "content": {body: {"schema": schema}}}
            responses: dict[str, Any] = {
                str(status): {"description": text, **({"content": {kind: {"schema": {}}}} if kind else {})}
                for status, (kind, text) in answers.items()
            }
            if call in _ENTRIES:
                responses["200"]["content"].update(_ENTRIES[call])
            for status, text in problems.items():
                content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
                responses[str(status)] = {"description": text or TEXTS[status], "content": content}
            operation["responses"] = responses
    document["components"] = {"schemas": {"Problem": _PROBLEM}}
    return document
