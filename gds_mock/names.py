"""What a domain is: one rule, used by every door through which a name comes in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gds_mock.errors import NotAHost

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_PORT = re.compile(r":[0-9]{1,5}\Z")
_LONGEST = 253


def normalise(host: str) -> str:
    """The domain a Host header, an SNI or a map's key means: lower case, without port and trailing dot.

    Raises NotAHost for anything that is not an A-label host name or ``*.`` and such a name.
    """
    if _DOMAIN.fullmatch(host) and len(host) <= _LONGEST:
        return host
    domain = _PORT.sub("", host).removesuffix(".")
    # Non-ASCII is refused before lower(): "K".lower() (the Kelvin sign) would become an ASCII k.
    if domain.isascii() and len(domain) <= _LONGEST and _DOMAIN.fullmatch(lowered := domain.lower()):
        return lowered
    raise NotAHost(f"{host[:80]!r} is not a host name or *. and a host name")


def wildcards_for(domain: str) -> Iterator[str]:
    """The wildcards that answer for ``domain``, the longest first. A wildcard is answered by itself alone."""
    if domain.startswith("*."):
        return
    _, _, rest = domain.partition(".")
    while rest:
        yield f"*.{rest}"
        _, _, rest = rest.partition(".")
