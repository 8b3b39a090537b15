"""What one peer may ask of the xDS port. Hitting a limit ends that stream alone, with a status that names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Interval

from xds.errors import LimitError

Count = Annotated[int, Gt(0)]
Seconds = Annotated[float, Interval(gt=0, le=86_400)]


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. The settings ``xds.limits.*`` bear the same names.

    ``message_bytes``: one request. A reconnect names all that is held: a million names are about 40 MB.
    ``names``: different names of one subscription, or of its initial versions.
    ``streams_per_peer``: open streams of one client certificate, or of one address on plaintext.
    ``requests_per_second``, ``request_burst``: requests that neither ACK nor NACK what was sent; those answer us, and
    there are never more of them than of our responses.
    ``first_request_timeout``: for a stream to say who it is. ``write_timeout``: for a client to take one response.
    ``response_bytes``: of resources in one delta response; below the 4 MiB that gRPC clients take unless told.
    ``hold``: how long routes wait for the ACK of the clusters that they may lead to.
    ``keepalive_interval``, ``keepalive_timeout``: our own pings. ``min_ping_interval``: of a client's.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    message_bytes: Count = 64 * 1024 * 1024
    names: Count = 100_000
    streams_per_peer: Count = 4_096
    requests_per_second: Annotated[float, Gt(0)] = 100.0
    request_burst: Count = 10_000
    first_request_timeout: Seconds = 15.0
    write_timeout: Seconds = 30.0
    response_bytes: Count = 3_500_000
    hold: Annotated[float, Interval(ge=0, le=60)] = 1.0
    keepalive_interval: Seconds = 30.0
    keepalive_timeout: Seconds = 10.0
    min_ping_interval: Seconds = 1.0


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` of them saved up. The clock is handed in."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Takes one token; False when there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def exceeded(limit: str, what: str, kind: type[LimitError] = LimitError) -> LimitError:
    """The error that ends a stream. ``limit`` is the field's name in `Limits`."""
    return kind(f"{what} (limit xds.limits.{limit})")
