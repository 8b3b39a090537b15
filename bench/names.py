"""Host names as directories have them, for what a skew of their first characters costs.

``even``: the first characters are spread evenly; ``www``: 30 % begin with ``www.``; ``tenants``:
``t0000001.example.com`` and so on; ``real``: what people called their packages at npm, taken evenly from the more than
four million names that the package ``all-the-package-names`` lists. ``real`` needs npm, once.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.edge import names
from bench.report import RESULTS

PACKAGE = "all-the-package-names@2.0.2578"

Names = Callable[[int], Iterator[str]]
"""So many of them, or as many as there are."""


def www(count: int) -> Iterator[str]:
    """The share of names on the web that are written with it, roughly."""
    for number, name in enumerate(names(count)):
        yield f"www.{name}" if number % 10 < 3 else name


def tenants(count: int) -> Iterator[str]:
    return (f"t{number:07d}.example.com" for number in range(count))


def real(count: int) -> Iterator[str]:
    """In the list's order, which is that of the alphabet: so it is every so manyth of them, not the first ones."""
    return evenly(hosts(json.loads(_listed().read_text())), count)


def hosts(words: Iterable[str]) -> list[str]:
    """A host name out of each word, as its first label; each only once."""
    labels = (re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:60].strip("-") for word in words)
    return list(dict.fromkeys(f"{label}.example.com" for label in labels if label))


def evenly(every: list[str], count: int) -> Iterator[str]:
    count = min(count, len(every))
    return (every[number * len(every) // count] for number in range(count))


def from_file(path: Path) -> Names:
    """The first word of each line as a host's first label."""

    def read(count: int) -> Iterator[str]:
        with path.open(errors="replace") as lines:
            words = [words[0] for line in lines if (words := line.split(maxsplit=1))]
        return evenly(hosts(words), count)

    return read


KINDS: dict[str, Names] = {"even": names, "www": www, "tenants": tenants, "real": real}


def _listed() -> Path:
    kept = RESULTS / f"{PACKAGE}.json"
    if not kept.exists():
        if not shutil.which("npm"):
            raise SystemExit("npm is missing, which brings the real names: apt-get install npm, or leave `real` out")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["npm", "pack", PACKAGE], cwd=folder, capture_output=True, text=True, timeout=300)
            packed = next(Path(folder).glob("*.tgz"), None)
            if packed is None:
                raise SystemExit(f"npm pack {PACKAGE} brought nothing: {done.stderr[-500:]}")
            with tarfile.open(packed) as archive:
                member = archive.extractfile("package/names.json")
                assert member is not None
                RESULTS.mkdir(exist_ok=True)
                kept.write_bytes(member.read())
    return kept
