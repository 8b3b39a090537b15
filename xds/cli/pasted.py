"""A host as somebody pastes it, from the line of a browser, a log or a mail."""

from __future__ import annotations

import re

_AROUND = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?(?P<name>[^/?#]*).*|(?P<bare>[^/?#]+)[/?#].*", re.IGNORECASE | re.DOTALL
)


def host_in(text: str) -> str:
    """What is left of a URL without scheme, user and path; a text that is none stays as it is. Its port, case, dot at
    the end and other letters than ASCII are the control plane's to read."""
    text = text.strip()
    found = _AROUND.fullmatch(text)
    return (found["name"] or found["bare"] or text) if found else text
