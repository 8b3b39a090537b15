"""The settings ``lookup.client``: how a GDS is asked for the pod of one host, and what its answer looks like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from xds.lookup.reading import Shape

HOST = "{host}"
"""Stands for the host in ``path``."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")


def _path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value) or value.count(HOST) != 1 or "#" in value:
        raise ValueError(f"must begin with / and have {HOST} in it once, such as /backend/{HOST}")
    return value


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value) or value.lower() in _OURS:
        raise ValueError("must be a header's name, such as x-api-key")
    return value


def _field(value: str) -> str:
    if not all(value.split(".")):
        raise ValueError("must be names joined by dots, such as backend.pod")
    return value


class ClientSettings(BaseModel):
    """How GDS is asked for one host: in lookup mode, and by ``pointsman compare`` in both modes.

    ``path``: what follows ``gds.url``; ``{host}`` stands for the host. ``header``, ``header_file``: a header that GDS
    knows us by and the file with its value, read anew for each call. ``gds.token_file``, ``gds.certificate`` and
    ``gds.ca`` hold here, too.

    ``field``: where the pod's name stands in a JSON answer, such as ``backend.pod``; unset, the answer is the name
    alone. ``content_type``: of the answer; unset, it is ``application/json`` with a ``field``, else ``text/plain``;
    ``*`` takes any. ``unknown_statuses``: those that say that GDS doesn't know the host. ``unknown``: names that an
    answer of 200 says it with, such as ``none``; ``""`` stands for an empty answer, and for a JSON null. Any other
    answer is an error: nothing is learned from it, and nothing forgotten.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, AfterValidator(_path)] = f"/backend/{HOST}"
    header: Annotated[str, AfterValidator(_header)] | None = None
    header_file: Path | None = None
    field: Annotated[str, AfterValidator(_field)] | None = None
    content_type: str | None = None
    unknown_statuses: Annotated[tuple[Annotated[int, Field(ge=204, le=599)], ...], Field(max_length=20)] = (404,)
    unknown: Annotated[tuple[str, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.header is None) != (self.header_file is None):
            raise ValueError("header and header_file go together: the header's name, and the file with its value")
        return self

    def shape(self) -> Shape:
        """As it is read by."""
        return Shape(
            tuple(self.field.split(".")) if self.field else (),
            frozenset(self.unknown),
            frozenset(self.unknown_statuses),
            (self.content_type or "").lower(),
        )

    def resolved(self, base: Path) -> ClientSettings:
        """With its paths relative to ``base``."""
        return self.model_copy(update={"header_file": base / self.header_file}) if self.header_file else self
