"""The API holds to its own OpenAPI document, whatever it is asked: schemathesis against a control plane that follows a
real GDS. Without `/api/v1/events`, which never ends."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from edge_harness import customers
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth

from demo.system import LOOPBACK, WITHOUT_TLS, Ports, System

EXAMPLES = 25


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """GDS and the control plane, with domains on three pods; without Envoy."""
    system = System(tmp_path_factory.mktemp("schema"), Ports.free(), {}, heartbeat=1.0)
    system.prepare()
    endpoints = [{"address": LOOPBACK, "port": 9}]
    system.load(customers(300), [{"name": f"pod{n}", "endpoints": endpoints} for n in (1, 2, 3)])
    try:
        system.start_gds()
        system.start_control_plane()
        system.wait_gds()
        system.wait_control_plane()
        yield system
    finally:
        system.stop()


@pytest.fixture(scope="module")
def token(plane: System) -> str:
    return (plane.folder / "state" / "token").read_text().strip()


@pytest.fixture(scope="module")
def document(plane: System) -> dict[str, Any]:
    found: dict[str, Any] = WITHOUT_TLS.get(f"{plane.api_url}/api/openapi.json").json()
    return found


def test_every_answer_is_as_the_document_says(plane: System, document: dict[str, Any], token: str) -> None:
    quick = copy.deepcopy(document)
    del quick["paths"]["/api/v1/events"]
    for parameter in quick["paths"]["/api/v1/revisions/{revision}"]["get"]["parameters"]:
        if parameter["name"] == "wait":
            parameter["schema"]["maximum"] = 0.01
    schema = schemathesis.openapi.from_dict(quick)
    schema.config.update(base_url=plane.api_url)
    findings = []
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:
        try:
            _holds(operation, token)
        except (schemathesis.errors.SchemathesisError, schemathesis.core.failures.FailureGroup) as error:
            findings.append(f"{operation.label}: {_words(error)}")
    assert not findings, "\n\n".join(findings)
    assert len(operations) > 20


def test_whatever_is_said_to_need_the_token_does(plane: System, document: dict[str, Any]) -> None:
    guarded = [
        (method, path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "security" in operation
    ]
    assert len(guarded) >= 5
    for method, path in guarded:
        for headers in ({}, {"authorization": "Bearer of-nothing"}):
            answer = WITHOUT_TLS.request(method, f"{plane.api_url}{path}", headers=headers)
            assert answer.status_code == 401, (method, path)


def _holds(operation: Any, token: str) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def holds(case: schemathesis.Case) -> None:
        headers = {"authorization": f"Bearer {token}"}
        case.call_and_validate(headers=headers, timeout=30, excluded_checks=[ignored_auth])

    holds()


def _words(error: Exception) -> str:
    inner = getattr(error, "exceptions", ())
    return "; ".join(map(str, inner)) or str(error)
