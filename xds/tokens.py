"""The token that orders need: a file that is given, or one that is made in the state folder for the same machine."""

from __future__ import annotations

import secrets
from pathlib import Path

from xds.errors import StateError

FILE = "token"
SHORTEST = 16


def made() -> bytes:
    """The content of a new token file."""
    return secrets.token_urlsafe(32).encode() + b"\n"


def read(file: Path) -> str:
    """Raises StateError unless there is a token that nobody guesses."""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"token {file} can't be read: {error} (settings http.token_file, state.folder)") from None
    if len(token) < SHORTEST:
        raise StateError(f"token {file} is shorter than {SHORTEST} characters")
    return token
