"""The settings ``lookup``: how GDS is asked for one host at a time, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xds.lookup.client_settings import ClientSettings

_DAY = 86_400
Seconds = Annotated[float, Field(gt=0, le=_DAY)]
Rate = Annotated[float, Field(gt=0, le=1_000_000)]
Count = Annotated[int, Field(ge=1)]


class Lookup(BaseModel):
    """For ``gds.mode = "lookup"``: a GDS that only answers for one host at a time.

    ``pods``: a file with the pods and their endpoints, read again when it changes: such a GDS gives nothing but a pod's
    name, and a name that isn't in the file leads nowhere.

    ``rate``, ``burst``: questions a second for hosts that aren't known, and how many may come together;
    ``concurrency``: under way at a time; ``timeout``: for one answer of GDS; ``patience``: that a request waits in
    all, then it is answered 503; ``waiting``: hosts that are waited for at a time, any more are answered 503.
    ``refuse_rate``: answers a second that send a request nowhere (GDS is away, there is no such host, too many wait);
    what is more waits for its turn, half of ``patience`` in all at most, so that a scan ends in the Envoys.
    ``address_rate``, ``address_burst``: requests a second for hosts that aren't known from one client address (of IPv6,
    from one /64), and how many may come together; Envoy answers what is more 429 itself. 0 is no limit: set it where
    many customers come from one address, as behind a balancer without PROXY protocol (``edge.proxy_protocol``).
    ``failures``: after so many in a row GDS isn't asked any more, at first for ``pause``, at most for thirty times as
    long; those of one host count once, and an answer that refuses one host (400, 405) doesn't. Such a host isn't asked
    for again, for a request, within ``pause``.

    ``unknown_for``: how long it is remembered that GDS doesn't know a host; ``remember``: of how many hosts at most.

    ``refresh``: known domains are asked again within this time, where ``refresh_rate`` questions a second are enough
    for it; ``grace``: a domain that GDS no longer has is withdrawn after this time. ``domains``: that are known at
    most; what is more is asked for anew again and again. ``sample``: the share of all requests that Envoy tells of, by
    which it is known who is busy, and asked again first.

    ``minimum``: so many domains that GDS no longer has, and more than ``guard.share`` of all, are held, though they are
    fewer than ``guard.minimum``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pods: Path = Path("pods.json")
    rate: Rate = 200.0
    burst: Count = 200
    concurrency: Count = 64
    timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    patience: Annotated[float, Field(gt=0, le=60)] = 6.0
    waiting: Count = 1_000
    refuse_rate: Rate = 500.0
    address_rate: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    address_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    failures: Count = 10
    pause: Annotated[float, Field(gt=0, le=60)] = 1.0
    unknown_for: Seconds = 10.0
    remember: Count = 100_000
    refresh: Seconds = 30.0
    refresh_rate: Rate = 200.0
    grace: Annotated[float, Field(ge=0, le=_DAY)] = 60.0
    domains: Count = 1_000_000
    minimum: Count = 3
    sample: Annotated[float, Field(ge=0, le=1)] = 0.001
    client: ClientSettings = ClientSettings()

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.timeout > self.patience:
            raise ValueError("timeout, of one question, is longer than patience, of a whole request")
        return self

    def resolved(self, base: Path) -> Lookup:
        """With its paths relative to ``base``."""
        return self.model_copy(update={"pods": base / self.pods, "client": self.client.resolved(base)})
