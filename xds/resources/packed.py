"""How one message of Envoy's API stands in another: packed into an Any, or as a reference to what comes over ADS."""

from __future__ import annotations

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy_data_plane.google.protobuf import Any


def packed(name: str, message: betterproto2.Message) -> Any:
    """``name``: of the message's type, with its package."""
    return Any(type_url=f"type.googleapis.com/{name}", value=bytes(message))


def ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
