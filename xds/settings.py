"""The one settings model: a TOML file, overridden by the environment (``POINTSMAN_XDS__PORT=18000``).

Paths in the file are relative to it.
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from xds.edge_settings import HostPort, Hsts, PodHeader, Timeouts, UnknownHost
from xds.errors import SettingsError
from xds.http_settings import Http
from xds.lookup.settings import Lookup
from xds.server import access
from xds.server.limits import Limits
from xds.traces.settings import Traces

if TYPE_CHECKING:
    from xds.gds.client import Credentials

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


def _address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


Address = Annotated[str, AfterValidator(_address)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gds(_Part):
    """Where the directory is. ``mode``: it is watched, or asked for one host at a time where it has nothing else
    (section `lookup`). ``read_timeout``: the longest silence on a watch, above GDS's heartbeat interval.

    ``stale_after``: seconds without a word from GDS after which ``/readyz`` answers 503. Unset, it never does for
    that: the Envoys are better served by an old directory than by none, and those that are connected are served anyway.

    ``ca``: who signs its certificate, if not a public CA. ``certificate``, ``key``: what we show it.
    ``token_file``: a bearer token, read anew for each request.
    """

    mode: Literal["watch", "lookup"] = "watch"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    url: HttpUrl = HttpUrl("http://127.0.0.1:6280/rest/private/gds")
    connect_timeout: Seconds = 2.0
    read_timeout: Seconds = 15.0
    stale_after: Annotated[float, Field(gt=0)] | None = None

    @property
    def credentials(self) -> Credentials:
        from xds.gds.client import Credentials  # with the HTTP library, which not every command needs

        return Credentials(self.ca, self.certificate, self.key, self.token_file)


class Rule(_Part):
    """What a certificate may claim: one ``[[xds.access.rules]]``. A claim is allowed when any rule allows it.

    ``san``: a pattern for one of its SANs (host name, URI, e-mail or IP address), or for its CN when it has no SAN.
    ``*`` stands for any characters but ``.`` and ``/``: ``edge-*.example.com``, ``spiffe://example.com/edge/*``;
    alone it stands for every name. A pattern with ``://`` is for URIs only, one with ``@`` for e-mail addresses only.
    ``node``, ``cluster``: patterns for the id and the cluster that its Envoy says. ``secrets``: for the secrets that
    it may have. In these ``*`` stands for any characters at all, ``{san}`` for the SAN itself (a host name in lower
    case), and ``{1}``, ``{2}``… for what the ``*`` of ``san`` stand for, in their order.
    """

    san: str
    node: str = "*"
    cluster: str = "*"
    secrets: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        try:
            self.made()
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return self

    def made(self) -> access.Rule:
        return access.rule(self.san, self.node, self.cluster, self.secrets)


class Access(_Part):
    """Who may connect, with mTLS. Without ``rules`` every certificate of the client CA may claim every node.

    ``crl``: a file of revocation lists, PEM or DER, or several such files; each list signed by a CA of ``client_ca``.
    They are read again when they change; a revoked certificate's streams are ended. The server's own certificate, its
    key and ``client_ca`` are read again too, but an open connection lives on when its CA is taken out of ``client_ca``.
    """

    rules: tuple[Rule, ...] = ()
    crl: Annotated[tuple[Path, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = ()


class Xds(_Part):
    """Where Envoys connect. mTLS unless ``plaintext``, which only loopback may have.

    ``coalesce_ms``: changes that come within this time of a publish go together; one by one they go at once.
    ``drain``: seconds over which, at the end, the Envoys are sent to other control planes. ``announce``: seconds before
    that in which it works on, and ``/readyz`` answers 503: as long as a load balancer in front takes to see it.
    """

    address: Address = "127.0.0.1"
    port: Port = 18000
    plaintext: bool = False
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    coalesce_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    drain: Annotated[float, Field(ge=0, le=60)] = 2.0
    announce: Annotated[float, Field(ge=0, le=300)] = 0.0
    limits: Limits = Limits()
    access: Access = Access()

    @model_validator(mode="after")
    def _secured(self) -> Self:
        missing = [name for name in ("certificate", "key", "client_ca") if getattr(self, name) is None]
        if self.plaintext and not ipaddress.ip_address(self.address).is_loopback:
            raise ValueError(
                f"plaintext is for loopback only, and {self.address} is not: set certificate, key, client_ca"
            )
        if self.plaintext and (self.access.rules or self.access.crl):
            raise ValueError("access is about client certificates, and with plaintext there are none")
        if not self.plaintext and missing:
            raise ValueError(f"mTLS needs {', '.join(missing)} (or plaintext = true on loopback)")
        return self


class State(_Part):
    """The last known good directory on disk: served when GDS is away at the start, and what can be gone back to.

    ``folder``: of one control plane alone; made if need be, readable by its owner only. ``keep``: how many whole states
    stay, each with the journal of what changed after it.
    """

    enabled: bool = True
    folder: Path = Path("state")
    keep: Annotated[int, Field(ge=2, le=1000)] = 5


class Guard(_Part):
    """A change of GDS that moves or removes more than this is held until somebody releases it (``pointsman hold``).

    ``share``: of the domains that the edge has, 0 to 1. ``minimum``: fewer domains than this are never held, unless
    they are all that there are (in lookup mode ``lookup.minimum`` is for those removed). ``window``: seconds within
    which changes count together, as one.

    ``share`` and ``window`` are for certificates that go from ``edge.certificates``, too.

    ``least``: domains that GDS has at least when a control plane begins that has no state on disk. With fewer it serves
    nobody until it has them, or until ``pointsman hold release``: somebody's GDS may be half restored. ``allow_empty``:
    it serves also when GDS has no domain yet.
    """

    enabled: bool = True
    share: Annotated[float, Field(gt=0, le=1)] = 0.10
    minimum: Annotated[int, Field(ge=1)] = 100
    window: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    least: Annotated[int, Field(ge=1)] = 1
    allow_empty: bool = False


class OnDemand(_Part):
    """Certificates of customers' own domains, asked for by Envoy (1.37 or newer) when a client names one (SNI).

    ``enabled``: else all clients are shown the service's certificate. ``names``: that one Envoy holds at a time, about
    45 kB of its memory each; with its other streams they must be fewer than ``xds.limits.streams_per_peer``.
    ``names_together``: that all Envoys hold, about 40 kB of the control plane's memory each. ``idle``: seconds after
    which a name is withdrawn that isn't asked for again; a busy one stays up to 32 times as long. ``prefetch``: names
    that every Envoy asks for at its start; as they stand in the listener, a change of them drains connections.
    ``prefetch_busiest``: so many more, those asked for most of late, are asked for by an Envoy that starts, and uses
    the delta variant; 0 for none.
    ``handshake_timeout``: how long a client waits for its certificate, at most.
    """

    enabled: bool = False
    names: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    names_together: Annotated[int, Field(ge=1)] = 20_000
    idle: Annotated[float, Field(ge=1, le=604_800)] = 3_600.0
    prefetch: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    prefetch_busiest: Annotated[int, Field(ge=0, le=500)] = 20
    handshake_timeout: Annotated[float, Field(ge=0.1, le=60)] = 5.0


class Tickets(_Part):
    """Session tickets of the service's certificate, with which a client resumes a session at any Envoy of the fleet.

    ``secret``: a file of at least 32 random bytes, the same for all control planes; without it each makes one of its
    own, and after its restart no session is resumed. ``rotation``: seconds after which another key, made of the secret
    and the time, makes the tickets; a ticket is taken for at least as long.
    """

    secret: Path | None = None
    rotation: Annotated[int, Field(ge=60, le=86_400)] = 28_800


class Tls(_Part):
    """How the edge speaks TLS. ``unknown_sni``: a client that names no host which has a certificate is shown the
    service's own, or its handshake is refused.
    """

    unknown_sni: Literal["default", "refuse"] = "default"
    on_demand: OnDemand = OnDemand()
    tickets: Tickets = Tickets()


class Edge(_Part):
    """What Envoy is told. ``redirect_port``: the https port as clients see it; unset, it is ``https_port``.

    ``crowded``: when more domains than this begin with the same two characters, they are spread over all tables: a
    change then costs little whatever the names look like, and a request to one of them some microseconds more.
    ``removal_grace``: seconds that a removed pod's cluster stays after the routes to it are gone.
    ``connect_timeout``: seconds for a connection to a pod. When one doesn't come, Envoy answers 503 to all requests
    that wait for that pod. A lost packet is sent again after a second, so one second would never do.
    ``certificates``: a folder of certificates, in the layout of certbot (``live/NAME/fullchain.pem``), of cert-manager
    (``NAME/tls.crt``), or ``NAME.crt`` and ``NAME.key``; ``certificate``: the name of the service's own.

    ``proxy_protocol``: a load balancer in front says by it who the client is; other connections are then refused.
    Whoever reaches the ports can say so: let only the balancer.
    ``http3``: HTTP/3 on the UDP port of the https port's number, and an ``alt-svc`` header that says so; unset, it is
    on, unless ``proxy_protocol`` is: such a balancer doesn't carry it. ``http3_connections``: that each Envoy has at a
    time; a client over it is left without an answer, and takes TCP. ``hsts``: the value of the header
    ``strict-transport-security``, such as ``max-age=31536000``; a pod's own goes before it. ``misdirected``: a request
    for a host that the connection's certificate isn't for is answered 421, and a browser asks again on another
    connection. ``acme``: host:port of an ACME client to which the challenges on the http port go (HTTP-01).
    ``pod_header``: a header of all answers on the https port that names the pod, over a pod's own of that name; for
    ``pointsman compare --edge``, and for whoever asks, clients too. Turning it on or off changes the listener, which
    drains connections. ``pods_http2``: pods are spoken to in HTTP/2 without TLS, not in HTTP/1.1.
    """

    address: Address = "127.0.0.1"
    https_port: Annotated[int, Field(ge=1, le=65535)] = 10443
    http_port: Annotated[int, Field(ge=1, le=65535)] = 10080
    redirect_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tables: Annotated[int, Field(ge=1, le=4096)] = 512
    crowded: Annotated[int, Field(ge=8)] = 3072
    certificates: Path = Path("certificates")
    certificate: str = "edge"
    removal_grace: Annotated[float, Field(ge=0, le=3600)] = 2.0
    connect_timeout: Seconds = 5.0
    tls: Tls = Tls()
    proxy_protocol: bool = False
    http3: bool | None = None
    http3_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    hsts: Hsts | None = None
    misdirected: bool = True
    acme: HostPort | None = None
    pod_header: PodHeader | None = None
    pods_http2: bool = False
    timeouts: Timeouts = Timeouts()
    unknown_host: UnknownHost = UnknownHost()

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if self.unknown_host.page and self.unknown_host.redirect:
            raise ValueError("unknown_host has a page or a redirect, not both")
        if self.http3 and self.proxy_protocol:
            raise ValueError("http3 and proxy_protocol don't go together: Envoy reads none on UDP")
        return self


class Log(_Part):
    """``auto``: for people on a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )
    _file: ClassVar[dict[str, Any]] = {}

    gds: Gds = Gds()
    lookup: Lookup = Lookup()
    xds: Xds
    http: Http = Http()
    edge: Edge = Edge()
    state: State = State()
    guard: Guard = Guard()
    traces: Traces = Traces()
    log: Log = Log()

    @model_validator(mode="after")
    def _one_authorization(self) -> Self:
        if self.gds.token_file and (self.lookup.client.header or "").lower() == "authorization":
            raise ValueError("gds.token_file is sent as authorization, and so is lookup.client.header: leave one out")
        return self

    @model_validator(mode="after")
    def _enough_streams(self) -> Self:
        names, streams = self.edge.tls.on_demand.names, self.xds.limits.streams_per_peer
        if self.edge.tls.on_demand.enabled and names >= streams:
            raise ValueError(
                f"edge.tls.on_demand.names: {names} streams, one for each, are too many for "
                f"xds.limits.streams_per_peer, {streams}"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # What is passed in comes from the file, and the environment has the last word.
        return env_settings, init_settings


def load(path: Path | None) -> Settings:
    """The settings of ``path``, or of the environment alone. Raises SettingsError, naming each wrong setting."""
    given: dict[str, Any] = {}
    base = Path.cwd()
    if path is not None:
        base = path.resolve().parent
        try:
            given = tomllib.loads(path.read_text())
        except OSError as error:
            raise SettingsError(f"settings file {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"settings file {path} is not TOML: {error}") from None
    try:
        settings = Settings(**{"xds": {}, **given})
    except ValidationError as error:
        source = f"settings file {path}" if path else "settings"
        raise SettingsError("; ".join(f"{source}: {_line(dict(line))}" for line in error.errors())) from None
    return _resolved(settings, base)


def _line(error: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" + ("" if isinstance(error["input"], dict) else f", not {str(error['input'])[:80]!r}")


def _resolved(settings: Settings, base: Path) -> Settings:
    xds: dict[str, object] = {
        name: base / path for name in ("certificate", "key", "client_ca") if (path := getattr(settings.xds, name))
    }
    crl = tuple(base / path for path in settings.xds.access.crl)
    xds["access"] = settings.xds.access.model_copy(update={"crl": crl})
    gds = {
        name: base / path
        for name in ("ca", "certificate", "key", "token_file")
        if (path := getattr(settings.gds, name))
    }
    edge: dict[str, object] = {"certificates": base / settings.edge.certificates}
    if settings.edge.tls.tickets.secret:
        tickets = settings.edge.tls.tickets.model_copy(update={"secret": base / settings.edge.tls.tickets.secret})
        edge["tls"] = settings.edge.tls.model_copy(update={"tickets": tickets})
    if settings.edge.unknown_host.page:
        page = {"page": base / settings.edge.unknown_host.page}
        edge["unknown_host"] = settings.edge.unknown_host.model_copy(update=page)
    state = {"folder": base / settings.state.folder}
    return settings.model_copy(
        update={
            "gds": settings.gds.model_copy(update=gds),
            "lookup": settings.lookup.resolved(base),
            "xds": settings.xds.model_copy(update=xds),
            "edge": settings.edge.model_copy(update=edge),
            "http": settings.http.resolved(base),
            "state": settings.state.model_copy(update=state),
        }
    )
