"""Where in the folder a certificate's files are: the layouts that others write, understood as they are.

| layout | chain | key | OCSP response |
| --- | --- | --- | --- |
| flat | ``NAME.crt`` | ``NAME.key`` | ``NAME.ocsp`` |
| certbot | ``[live/]NAME/fullchain.pem`` | ``privkey.pem`` | ``fullchain.ocsp`` |
| cert-manager | ``NAME/tls.crt`` | ``tls.key`` | ``tls.ocsp`` |

Links are followed: certbot's into ``archive/``, and the ``..data`` that Kubernetes swaps when a secret changes. A name
that can't be printed is nobody's: no Envoy, log or answer could carry it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from xds.certificates.checks import Files

_LIVE = "live"
_LAYOUTS = (
    ("{}.crt", "{}.key"),
    ("{}/fullchain.pem", "{}/privkey.pem"),
    ("{}/tls.crt", "{}/tls.key"),
    ("live/{}/fullchain.pem", "live/{}/privkey.pem"),
)
_FLAT, _LIVING = 0, 3
_IN_FOLDERS = (1, 2)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_ENDINGS = (".crt", ".key", ".ocsp")


class Place(msgspec.Struct, frozen=True, gc=False):
    """A certificate by name, in one of the layouts."""

    name: str
    layout: int

    def files(self, folder: Path) -> Files:
        chain, key = (f"{folder}/{each.format(self.name)}" for each in _LAYOUTS[self.layout])
        return Files(chain, key, f"{chain.rpartition('.')[0]}.ocsp")


def places(folder: Path) -> Iterator[Place]:
    """All of them, each name once. Raises OSError."""
    seen: set[str] = set()
    folders: list[tuple[str, tuple[int, ...]]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.isprintable():
                continue
            if entry.name.endswith(".crt"):
                name = entry.name.removesuffix(".crt")
                seen.add(name)
                yield Place(name, _FLAT)
            elif entry.is_dir():
                folders.append((entry.name, _IN_FOLDERS))
    if (_LIVE, _IN_FOLDERS) in folders:
        with os.scandir(folder / _LIVE) as entries:
            folders += [(entry.name, (_LIVING,)) for entry in entries if entry.is_dir() and entry.name.isprintable()]
    for name, layouts in folders:
        if name not in seen and (found := _found(folder, name, layouts)):
            seen.add(name)
            yield found


def place(folder: Path, name: str) -> Place | None:
    """The one of this name; None when there is none."""
    return _found(folder, name, range(len(_LAYOUTS)))


def touched(folder: Path, path: str) -> str | None:
    """The name whose files a change of ``path`` may concern, "" for nobody's; None when it may be anybody's."""
    parts = Path(os.path.relpath(path, folder)).parts
    if not parts or parts[0].startswith(".."):
        return None
    if not all(part.isprintable() for part in parts):
        return ""
    if parts[0] in (_LIVE, "archive"):
        return parts[1] if len(parts) > 1 else None
    if len(parts) == 1:
        name, ending = os.path.splitext(parts[0])
        if parts[0].startswith("."):
            return ""
        return name if ending in _ENDINGS else parts[0]
    return parts[0]


def _found(folder: Path, name: str, layouts: range | tuple[int, ...]) -> Place | None:
    for layout in layouts:
        found = Place(name, layout)
        if _exists(found.files(folder).chain):
            return found
    return None


def _exists(path: str) -> bool:
    """Also when that can't be told: what a disk that fails doesn't show isn't gone."""
    try:
        os.stat(path)
    except ValueError:
        return False
    except OSError as error:
        return error.errno not in _ABSENT
    return True
