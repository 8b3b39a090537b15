"""The OpenAPI document: every route says what it answers, and what it answers when it can't."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from xds.directory import Directory
from xds.edge_tls import EdgeTls, Options
from xds.gds.mirror import MirrorStatus
from xds.http.app import create_app
from xds.http.view import Counts, View
from xds.operator import Operator
from xds.resources.routes import RouteTables
from xds.tracker import Tracker


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = Directory()
    folder: Path = tmp_path_factory.mktemp("none")
    view = View(
        directory,
        MirrorStatus(),
        RouteTables(4),
        list,
        lambda: Counts(0, 0, 0, 0, {}),
        EdgeTls(Options(folder, "edge"), lambda update: None, lambda tls: None, lambda host: False),
        tracker=Tracker(directory, publishes=lambda: 0, changes=lambda: 0, held=lambda: False),
    )
    return create_app(view, cast(Operator, _Desk())).openapi()


class _Desk:
    """Nobody orders anything of it here."""

    def held(self) -> list[str]:
        return []

    def waits(self, domain: str) -> None:
        return None


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_says_what_it_is_for_and_what_it_answers(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation.get("description"), name
        assert operation.get("tags"), name
        (media,) = operation["responses"]["200"]["content"].values()
        assert media.get("schema") or "/events" in name or "/metrics" in name, name


def test_every_route_of_the_api_says_its_errors_as_problems(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "/api/v1" not in name:
            continue
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"401", "422"} <= errors.keys(), name
        for status, answer in errors.items():
            assert list(answer["content"]) == ["application/problem+json"], (name, status)


def test_every_model_says_what_its_fields_are(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"RevisionShown", "Status", "Explanation", "Problem"} <= schemas.keys()
    assert "HTTPValidationError" not in schemas, "a route still answers the framework's own errors"
