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
CLIENT_CERTIFICATE, CLIENT_KEY = "POINTSMAN_CLIENT_CERTIFICATE", "POINTSMAN_CLIENT_KEY"
"""In the environment: files of what a control plane that speaks HTTPS is shown instead of the token."""
CONNECT = 5.0
"""Seconds for a connection: a machine that is gone answers nothing at all."""
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
        self._url = _checked(url)
        self._token_file = token_file
        self._given = bool(url)
        self._of = of or self._url
        self._loaded: Settings | None = None
        self._client: httpx.Client | None = None
        self._unshown = ""
        """Why it isn't shown a token."""

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
    def shown(self) -> str:
        """The URL without user and password, for errors."""
        from xds.gds.client import without_user

        return without_user(self.url).rstrip("/")

    @property
    def replicas(self) -> list[str]:
        """The URLs of all control planes beside each other, where the settings name them."""
        return [str(url).rstrip("/") for url in self._settings.http.replicas]

    def get(self, path: str, query: Mapping[str, Any] | None = None, patience: float | None = None) -> Any:
        """The JSON at ``path``, such as "/api/v1/hold". ``patience``: for this one call, if it isn't that of all."""
        return self._asked("GET", path, query, None, patience)

    def items(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Those of a list, page after page, as they come."""
        for page in self.pages(path, query):
            yield from page["items"]

    def pages(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """What is told in pages, each as it comes."""
        asked = dict(query or {})
        while True:
            page = self.get(path, asked)
            yield page
            if page.get("next") is None:  # an older control plane tells all at once of what has pages now
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
        if gds.mode == "lookup":
            raise OrderError(
                'this GDS is asked for one host at a time (gds.mode = "lookup") and has no snapshot: `pointsman '
                "compare --hosts FILE` asks it for a list of them"
            )

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
            with self._http().stream("GET", path, timeout=_timeout(SILENCE)) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise self._said_no(answer)
                yield answer.iter_lines()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OrderError(f"the control plane at {self.shown} doesn't answer: {_reason(error, url)}") from None

    def at_once(self, together: int) -> httpx.AsyncClient:
        """For reading with so many calls at a time; the caller's to close."""
        import httpx

        return httpx.AsyncClient(
            base_url=self.url,
            headers=self._credentials(),
            timeout=_timeout(TIMEOUT),
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
                f"{self.shown} isn't one of http.replicas, so it isn't shown the token of these settings: give "
                "--token-file if it is to have it"
            )

    def _is_of_several(self) -> bool:
        with contextlib.suppress(SettingsError):
            return self._of in self.replicas
        return False

    def _credentials(self) -> dict[str, str]:
        """Reading needs the token only here and there: it is shown where it can be read. Raises PointsmanError when it
        is one that was asked for."""
        try:
            return self._authorization()
        except PointsmanError as error:
            if self._token_file is not None:
                raise
            self._unshown = str(error)
            return {}

    def _ordering(self) -> dict[str, str]:
        """The token, or nothing where a client certificate does as well. Raises PointsmanError."""
        try:
            return self._authorization()
        except PointsmanError:
            if self._token_file is not None or not self._shows_a_certificate():
                raise
            return {}

    def _shows_a_certificate(self) -> bool:
        return self.url.startswith("https:") and bool(os.environ.get(CLIENT_CERTIFICATE))

    def _http(self) -> httpx.Client:
        """One for all calls."""
        import httpx

        if self._client is None:
            self._client = httpx.Client(
                base_url=self.url,
                headers=self._credentials(),
                timeout=_timeout(self._patience),
                trust_env=False,
                verify=self._trust(),
            )
        return self._client

    def _trust(self) -> ssl.SSLContext | bool:
        """Over HTTPS the very certificate that the settings name is trusted, whoever signed it and for which name; at
        another address, what the system trusts."""
        if not self.url.startswith("https:"):
            return False  # there is none to be trusted, and reading the system's takes long
        own = None if self._given else self._settings.http.certificate
        try:
            context = ssl.create_default_context(cafile=str(own) if own else None)
        except OSError as error:
            raise OrderError(
                f"{own or os.environ.get('SSL_CERT_FILE')}, which says whom to trust at {self.shown}, can't be used: "
                f"{error.strerror or error}"
            ) from None
        if own is not None:
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.check_hostname = False
        if certificate := os.environ.get(CLIENT_CERTIFICATE):
            key = os.environ.get(CLIENT_KEY) or None
            try:
                # Without a password it isn't asked for on the terminal: who runs this may be a script.
                context.load_cert_chain(certificate, key, password=lambda: "")
            except OSError as error:
                raise OrderError(
                    f"the client certificate {certificate}{f' with {key}' if key else ''} can't be used: "
                    f"{error.strerror or error} ({CLIENT_CERTIFICATE}, {CLIENT_KEY})"
                ) from None
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
            headers = self._ordering() if body is not None else None
            timeout = _timeout(patience or self._patience)
            answer = self._http().request(method, path, params=query, json=body, headers=headers, timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OrderError(
                f"the control plane at {self.shown} doesn't answer: {_reason(error, url)} (options --config, --url)"
            ) from None
        if answer.status_code != 200:
            raise self._said_no(answer)
        try:
            return answer.json()
        except ValueError:
            raise self._no_control_plane(answer) from None

    def _said_no(self, answer: httpx.Response) -> OrderError:
        status = answer.status_code
        try:
            found = answer.json()
        except ValueError:
            return self._no_control_plane(answer)
        detail = found.get("detail", found) if isinstance(found, dict) else found
        if status in (401, 403):
            if self._unshown:
                detail = f"{detail}; none was sent: {self._unshown}"
            elif self._is_of_several():
                detail = f"{detail}: the control planes of http.replicas need the same token (setting http.token_file)"
        return OrderError(f"the control plane at {self.shown} says {status}: {detail}", status=status)

    def _no_control_plane(self, answer: httpx.Response) -> OrderError:
        """Each answer of one is JSON, of what went wrong, too."""
        kind = answer.headers.get("content-type", "").partition(";")[0] or "no content type"
        return OrderError(
            f"what answers at {self.shown} isn't a control plane's API ({answer.status_code}, {kind}): give the URL of "
            "its http.address and http.port, without a path (options --config, --url)"
        )


def _checked(url: str) -> str:
    """Without a slash at its end. Raises OrderError when it isn't one of HTTP."""
    if url and (not url.lower().startswith(("http://", "https://")) or not urlsplit(url).netloc):
        raise OrderError(f"{url!r} is no URL of a control plane, such as http://127.0.0.1:18080 (option --url)")
    return url.rstrip("/")


def _timeout(seconds: float) -> httpx.Timeout:
    import httpx

    return httpx.Timeout(seconds, connect=min(seconds, CONNECT))


def _reason(error: Exception, url: str) -> str:
    """Why it doesn't answer, and what to look at."""
    import httpx

    said = str(error) or type(error).__name__
    if isinstance(error, httpx.RemoteProtocolError) and url.startswith("http:"):
        return f"{said}: does it run, and does it speak HTTPS?"
    if "WRONG_VERSION_NUMBER" in said or "record layer failure" in said:
        return f"{said}: does it speak HTTP, not HTTPS?"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return f"{said}: whom to trust there, SSL_CERT_FILE can say"
    if "CERTIFICATE_REQUIRED" in said or "alert" in said.lower():
        return f"{said}: is the client certificate the right one? ({CLIENT_CERTIFICATE})"
    return f"{said}: does it run?"


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
