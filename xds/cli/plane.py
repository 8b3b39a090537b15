"""A running control plane, asked over its own HTTP. Where that is, and the token, come from the same settings."""

from __future__ import annotations

import getpass
import ipaddress
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xds.errors import OrderError, PointsmanError, SettingsError

if TYPE_CHECKING:
    from xds.settings import Settings

TIMEOUT = 60.0


class Plane:
    """``url`` and ``token_file`` go before what the settings say. Every call raises PointsmanError, an OrderError with
    the answer's ``status`` when it was answered."""

    def __init__(self, config: Path | None = None, url: str = "", token_file: Path | None = None) -> None:
        self._config = config
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._loaded: Settings | None = None

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        if not self._url:
            http = self._settings.http
            address = http.address
            if (bound := ipaddress.ip_address(address)).is_unspecified:
                address = "127.0.0.1" if bound.version == 4 else "::1"
            self._url = f"http://[{address}]:{http.port}" if ":" in address else f"http://{address}:{http.port}"
        return self._url

    @property
    def replicas(self) -> list[str]:
        """The URLs of all control planes beside each other, where the settings name them."""
        return [str(url).rstrip("/") for url in self._settings.http.replicas]

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON at ``path``, such as "/api/v1/hold"."""
        return self._asked("GET", path, query, None)

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
            file = self._settings.http.token_file or self._settings.state.folder / tokens.FILE
        return {"authorization": f"Bearer {tokens.read(file)}"}

    def _credentials(self) -> dict[str, str]:
        """For reading, which needs the token only here and there: with it where it can be read."""
        try:
            return self._authorization()
        except PointsmanError:
            return {}

    def _asked(self, method: str, path: str, query: Mapping[str, Any] | None, body: Mapping[str, Any] | None) -> Any:
        import httpx

        url = self.url
        headers = self._authorization() if body is not None else self._credentials()
        try:
            answer = httpx.request(
                method, f"{url}{path}", params=query, json=body, headers=headers, timeout=TIMEOUT, trust_env=False
            )
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise OrderError(
                f"the control plane at {url} doesn't answer: {error}: does it run? (options --config, --url)"
            ) from None
        if answer.status_code != 200:
            detail = found.get("detail", found) if isinstance(found, dict) else found
            raise OrderError(
                f"the control plane at {url} says {answer.status_code}: {detail}", status=answer.status_code
            )
        return found


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
