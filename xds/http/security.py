"""What the OpenAPI document says of who may ask for what: as `xds.http.access` decides it, and with these settings."""

from __future__ import annotations

from typing import Any

from xds.http.access import GUARDED, OPEN, READING, Access

_SCHEMES: dict[str, dict[str, str]] = {
    "token": {"type": "http", "scheme": "bearer", "description": "The token of setting http.token_file."},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "The token as the password, for reading only: so a browser asks for it. The user may be any.",
    },
    "certificate": {"type": "mutualTLS", "description": "A client certificate of setting http.client_ca."},
}


def add_security(document: dict[str, Any], access: Access) -> None:
    """Gives each call its ``security``: any of what is listed opens it, and ``{}`` means nothing is needed."""
    schemes = {name: scheme for name, scheme in _SCHEMES.items() if access.certificates or name != "certificate"}
    document["components"]["securitySchemes"] = schemes
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["security"] = _needed(access, method.upper(), path)


def _needed(access: Access, method: str, path: str) -> list[dict[str, list[str]]]:
    certificate: list[dict[str, list[str]]] = [{"certificate": []}] if access.certificates else []
    if path in OPEN:
        return []
    if method not in READING:
        return [{"token": []}, *certificate]
    shown: list[dict[str, list[str]]] = [{"token": []}, {"password": []}, *certificate]
    return [{}, *shown] if access.public and path not in GUARDED else shown
