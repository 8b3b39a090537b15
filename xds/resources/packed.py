"""How one message of Envoy's API stands in another: packed into an Any, as a reference to what comes over ADS, or as a
header that is set.
"""

from __future__ import annotations

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.google.protobuf import Any


def packed(name: str, message: betterproto2.Message) -> Any:
    """``name``: of the message's type, with its package."""
    return Any(type_url=f"type.googleapis.com/{name}", value=bytes(message))


def ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def overwriting(name: str, value: str) -> HeaderValueOption:
    """The header with that value, whatever it was before."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
