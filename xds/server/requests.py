"""Requests as they come over the wire: read in `xds.protocol.decode`."""

from __future__ import annotations

from xds.protocol.decode import parse_delta, parse_sotw

__all__ = ["parse_delta", "parse_sotw"]
