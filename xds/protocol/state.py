"""What one stream says of itself, type by type: for `/api/v1/nodes` and the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TypeState:
    """Counts are of responses. ``version_sent`` and ``version_acked`` name the content that a response brought."""

    type: str
    wildcard: bool = False
    subscribed: int = 0
    resources: int = 0
    sent: int = 0
    acked: int = 0
    nacked: int = 0
    in_flight: int = 0
    version_sent: str = ""
    version_acked: str = ""
    version_nacked: str = ""
    last_nack: str = ""
