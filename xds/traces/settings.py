"""The settings ``traces``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, HttpUrl


class Traces(BaseModel):
    """OpenTelemetry traces, a trace for each change of GDS: when it came, was published, was sent to each Envoy, and
    was ACKed; of what was held also when it was held and released, and of a whole snapshot a trace ``snapshot``. They
    need the extra ``otel``: ``pip install 'pointsman[otel]'``.

    ``endpoint``: where they are sent, by OTLP over HTTP, such as ``http://127.0.0.1:4318/v1/traces``. Unset, there are
    none. What it wants as headers is said in the environment, ``OTEL_EXPORTER_OTLP_HEADERS``. ``share``: of the
    changes, from 0 to 1. ``envoys``: of one trace at most, those that were last to have the change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: HttpUrl | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    envoys: Annotated[int, Field(ge=1, le=1_000)] = 50
