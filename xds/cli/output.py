"""What the commands print: JSON for programs, text for people; nothing else is on stdout."""

from __future__ import annotations

import json
import time
from typing import Any


def print_json(found: Any) -> None:
    print(json.dumps(found, indent=2))


def print_found(found: Any, as_json: bool, text: str) -> None:
    """The API's answer as it came, or the text."""
    if as_json:
        print_json(found)
    else:
        print(text)


def when(seconds: float) -> str:
    """A time of the API (seconds since 1970) for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
