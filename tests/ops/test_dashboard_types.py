"""The Grafana dashboard, read by the types that Grafana's makers generate from its schemas, of its version 11.6: each
field is one that Grafana knows there, with a value of its kind. Grafana itself isn't run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_type_hints

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus import OPS
from pydantic import TypeAdapter, ValidationError

OURS = (OPS / "grafana" / "pointsman.json").read_text()
WITHOUT_TYPES = {
    ".annotations.list[0].titleFormat",  # of the data source
    ".templating.list[1].definition",  # what Grafana's editor shows of a query
    ".templating.list[2].definition",
}


@pytest.fixture(scope="module", autouse=True)
def _panels() -> None:
    plugins.register_default_plugins()


def read(text: str) -> Dashboard:
    return Dashboard.from_json(json.loads(text))


def lost(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Where ours says something that theirs doesn't."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            yield from lost(value, theirs.get(name), f"{place}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{place}[{number}]")
    elif ours != theirs:
        yield place


def wrong(model: Any, place: str = "") -> Iterator[str]:
    """Where a value isn't of the kind that its field has."""
    if isinstance(model, list):
        for number, one in enumerate(model):
            yield from wrong(one, f"{place}[{number}]")
    elif isinstance(model, dict):
        for name, one in model.items():
            yield from wrong(one, f"{place}.{name}")
    elif type(model).__module__.startswith("grafana_foundation_sdk.") and not isinstance(model, Enum):
        kinds = get_type_hints(type(model))
        for name, value in vars(model).items():
            try:
                TypeAdapter(kinds[name], config={"arbitrary_types_allowed": True}).validate_python(value)
            except ValidationError as error:
                yield f"{place}.{name}: {error.errors()[0]['msg']}"
            yield from wrong(value, f"{place}.{name}")


def unknown(text: str) -> set[str]:
    return {*lost(json.loads(text), json.loads(json.dumps(read(text), cls=JSONEncoder)))}


def test_grafana_knows_every_field() -> None:
    assert unknown(OURS) == WITHOUT_TYPES


def test_every_value_is_one_that_its_field_may_have() -> None:
    assert [*wrong(read(OURS))] == []


@pytest.mark.parametrize(
    ("said", "otherwise", "place"),
    [
        ('"showPoints":', '"showPoint":', ".fieldConfig.defaults.custom.showPoint"),
        ('"legendFormat":', '"legend":', ".targets[0].legend"),
        ('"scheme": "Spectral"', '"schema": "Spectral"', ".options.color.schema"),
    ],
)
def test_a_name_that_is_none_is_found(said: str, otherwise: str, place: str) -> None:
    assert any(found.endswith(place) for found in unknown(OURS.replace(said, otherwise, 1)) - WITHOUT_TYPES)


def test_a_value_that_is_none_is_found() -> None:
    assert '"showPoints": "never"' in OURS
    (found,) = wrong(read(OURS.replace('"showPoints": "never"', '"showPoints": "none"', 1)))
    assert "show_points: Input should be 'auto', 'never' or 'always'" in found
