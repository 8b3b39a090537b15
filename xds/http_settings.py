"""The settings ``http``: where the API is, who may read it, who may change something, and what it may ask."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, model_validator

from xds.edge_settings import HostPort


def _address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


class Http(BaseModel):
    """Where the API, the metrics and the health are answered.

    ``public_read``: everybody who reaches the port may read the API and the status page; else that needs the token or a
    client certificate. Unset, it is so on loopback only, and there for requests whose Host is an address or
    ``localhost``: no web page that a browser of this machine shows may read it under a name of its own. ``/healthz``,
    ``/readyz`` and ``/metrics`` are open to all.

    ``token_file``: a bearer token that orders need (release, refuse, roll back), read anew for each. Unset, one is made
    in the state folder, for the command ``pointsman`` on the same machine. ``certificate``, ``key``: HTTPS instead of
    HTTP; they are read again when they change. ``client_ca``: a client certificate of it is as good as the token.

    ``audit_file``: every order is appended to it, a JSON object a line; at 5 MB it is set aside, and five such files
    are kept. Unset, it is ``audit.log`` in the state folder. ``receipts``: changes of GDS whose receipts are
    remembered. ``receipt_grace``: seconds for which an Envoy whose connection ended is waited for in the receipts of
    what it lacks, unless it is back: it may serve by what was before.

    ``replicas``: the URLs of all control planes beside each other, this one too, as the commands reach
    them: ``pointsman hold``, ``rollback`` and ``refresh`` order it at each, ``status``, ``nodes``, ``explain``,
    ``diff``, ``certs``, ``set-aside``, ``watch``, ``history``, ``trace``, ``wait`` and ``audit`` tell of all.
    They need the same token: set ``token_file``.
    A name that has several addresses, such as a headless Service of Kubernetes, stands for all of them (HTTP only).

    ``envoy_admins``: by node id, the URL of that Envoy's admin interface: ``explain`` then says what it routes by now.
    ``probe``: host:port of the edge's https port, for ``explain`` with a request through it, which needs the token.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 18080
    public_read: bool | None = None
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    audit_file: Path | None = None
    receipts: Annotated[int, Field(ge=10, le=100_000)] = 1_000
    receipt_grace: Annotated[float, Field(ge=0, le=3600)] = 30.0
    replicas: tuple[HttpUrl, ...] = ()
    envoy_admins: dict[str, HttpUrl] = {}
    probe: HostPort | None = None

    @model_validator(mode="after")
    def _secured(self) -> Self:
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("certificate and key go together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca is for HTTPS: set certificate and key")
        return self

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback

    def resolved(self, base: Path) -> Http:
        """Its paths relative to ``base``."""
        names = ("token_file", "certificate", "key", "client_ca", "audit_file")
        return self.model_copy(update={name: base / path for name in names if (path := getattr(self, name))})
