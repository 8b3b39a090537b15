"""A running control plane, asked over its own HTTP. Where that is, and the token, come from the same settings."""

from __future__ import annotations

import contextlib
import getpass
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from xds.errors import OrderError, PointsmanError, SettingsError

if TYPE_CHECKING:
    import httpx

    from xds.gds.model import Snapshot
    from xds.settings import Settings

PAGE = 1_000
"""Items of a list that are asked for at once: the API gives no more."""
TIMEOUT = 60.0
SILENCE = 30.0
"""Seconds after which a stream that says nothing is taken for dead; it says something each second."""


class Plane:
    """``url`` and ``token_file`` go before what the settings say. Every call raises PointsmanError, an OrderError with
    the answer's ``status`` when it was answered. ``patience``: seconds for each step of one. ``of``: the one of
    http.replicas that ``url`` is an address of."""

    def __init__(
        self,
        config: Path | None = None,
        url: str = "",
        token_file: Path | None = None,
        *,
        patience: float = TIMEOUT,
        of: str = "",
    ) -> None:
        self._patience = patience
        self._config = config
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._given = bool(url)
        self._of = of or self._url
        self._loaded: Settings | None = None
        self._client: httpx.Client | None = None

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        if not self._url:
            http = self._settings.http
            address = http.address
            if (bound := ipaddress.ip_address(address)).is_unspecified:
                address = "127.0.0.1" if bound.version == 4 else "::1"
            scheme = "https" if http.certificate else "http"
            host = f"[{address}]" if ":" in address else address
            self._url = f"{scheme}://{host}:{http.port}"
        return self._url

    @property
    def replicas(self) -> list[str]:
        """The URLs of all control planes beside each other, where the settings name them."""
        return [str(url).rstrip("/") for url in self._settings.http.replicas]

    def get(self, path: str, query: Mapping[str, Any] | None = None, patience: float | None = None) -> Any:
        """The JSON at ``path``, such as "/api/v1/hold". ``patience``: for this one call, if it isn't that of all."""
        return self._asked("GET", path, query, None, patience)

    def items(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Those of a list, page after page, as they come."""
        asked = dict(query or {})
        while True:
            page = self.get(path, asked)
            yield from page["items"]
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    def path(self, *words: str) -> str:
        """``words`` joined to a path, those after the first quoted."""
        return "/".join([words[0], *(quote(word, safe="") for word in words[1:])])

    def snapshot(self) -> Snapshot:
        """GDS's own, read from where the settings say that it is."""
        import asyncio

        from xds.gds.client import GdsClient, Timeouts

        gds = self._settings.gds

        async def read() -> Snapshot:
            credentials = gds.credentials
            async with GdsClient(str(gds.url), Timeouts(gds.connect_timeout, gds.read_timeout), credentials) as client:
                return await client.snapshot()

        return asyncio.run(read())

    @contextmanager
    def lines(self, path: str) -> Iterator[Iterator[str]]:
        """Those of a stream that doesn't end by itself. Raises OrderError when it breaks, too."""
        import httpx

        url = self.url
        try:
            with self._http().stream("GET", path, timeout=SILENCE) as answer:
                if answer.status_code != 200:
                    raise OrderError(f"the control plane at {url} says {answer.status_code}", status=answer.status_code)
                yield answer.iter_lines()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OrderError(
                f"the control plane at {url} doesn't answer: {str(error) or type(error).__name__}"
            ) from None

    def at_once(self, together: int) -> httpx.AsyncClient:
        """For reading with so many calls at a time; the caller's to close."""
        import httpx

        return httpx.AsyncClient(
            base_url=self.url,
            headers=self._credentials(),
            timeout=TIMEOUT,
            trust_env=False,
            verify=self._trust(),
            limits=httpx.Limits(max_connections=together, max_keepalive_connections=together),
        )

    def order(self, path: str, order: Mapping[str, Any]) -> Any:
        """Has something changed: with the token, and with the name of who runs this."""
        return self._asked("POST", path, None, {**order, "by": f"{_user()}@{socket.gethostname()}"[:200]})

    @property
    def _settings(self) -> Settings:
        from xds import settings

        if self._loaded is None:
            try:
                self._loaded = settings.load(self._config)
            except SettingsError as error:
                if self._config is not None:
                    raise
                raise SettingsError(
                    f"no settings file was given, and the environment isn't enough ({error}): give --config, or --url "
                    "with --token-file where something is ordered"
                ) from None
        return self._loaded

    def _authorization(self) -> dict[str, str]:
        from xds import tokens

        file = self._token_file
        if file is None:
            self._refuse_strangers()
            file = self._settings.http.token_file or self._settings.state.folder / tokens.FILE
        return {"authorization": f"Bearer {tokens.read(file)}"}

    def _refuse_strangers(self) -> None:
        """The settings' token is for their own control planes, and for this machine. Raises OrderError."""
        host = urlsplit(self.url).hostname or ""
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host).is_loopback:
                return
        if self._given and host != "localhost" and self._of not in self.replicas:
            raise OrderError(
                f"{self.url} isn't one of http.replicas, so it isn't shown the token of these settings: give "
                "--token-file if it is to have it"
            )

    def _is_of_several(self) -> bool:
        with contextlib.suppress(SettingsError):
            return self._of in self.replicas
        return False

    def _credentials(self) -> dict[str, str]:
        """Reading needs the token only here and there: it is shown where it can be read."""
        try:
            return self._authorization()
        except PointsmanError:
            return {}

    def _http(self) -> httpx.Client:
        """One for all calls."""
        import httpx

        if self._client is None:
            self._client = httpx.Client(
                base_url=self.url,
                headers=self._credentials(),
                timeout=self._patience,
                trust_env=False,
                verify=self._trust(),
            )
        return self._client

    def _trust(self) -> ssl.SSLContext | bool:
        """Over HTTPS the very certificate that the settings name is trusted, whoever signed it and for which name; at
        another address, what the system trusts."""
        if not self.url.startswith("https:"):
            return False  # there is none to be trusted, and reading the system's takes long
        if self._given:
            return ssl.create_default_context()
        context = ssl.create_default_context(cafile=str(self._settings.http.certificate))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        patience: float | None = None,
    ) -> Any:
        import httpx

        url = self.url
        try:
            headers = self._authorization() if body is not None else None
            timeout = patience or self._patience
            answer = self._http().request(method, path, params=query, json=body, headers=headers, timeout=timeout)
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise OrderError(
                f"the control plane at {url} doesn't answer: {str(error) or type(error).__name__}: does it run? "
                "(options --config, --url)"
            ) from None
        if answer.status_code != 200:
            detail = found.get("detail", found) if isinstance(found, dict) else found
            if answer.status_code in (401, 403) and self._is_of_several():
                detail = f"{detail}: the control planes of http.replicas need the same token (setting http.token_file)"
            raise OrderError(
                f"the control plane at {url} says {answer.status_code}: {detail}", status=answer.status_code
            )
        return found


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
