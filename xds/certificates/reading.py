"""Reads a certificate's files and says what they are: for threads, it touches nothing but the disk and the log."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from xds.certificates.checks import Checked, Facts, Files, check, check_dates, facts_of
from xds.certificates.layouts import Place, place
from xds.certificates.pem import read_pem
from xds.errors import CertificateError

log = structlog.get_logger()

_OTHERS = 0o007  # a group of its own may: systemd units and Kubernetes run so

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Read:
    """What was found under a name. ``place`` is None when nothing is there; without an ``error`` there are ``facts``,
    and all of it is checked when there is a ``pair``. ``dates``: the error is only that it isn't valid at this time."""

    name: str
    place: Place | None
    stamp: int = 0
    readable: bool = False
    facts: Facts | None = None
    checked: Checked | None = None
    error: CertificateError | None = None


def read_leaf(folder: Path, found: Place, now: float) -> Read:
    """Quickly: the leaf alone, and that there is a key."""
    try:
        return _leaf(folder, found, now)
    except Exception as error:  # whatever a file holds, it is set aside and ends nothing
        return Read(found.name, found, _stamp(found.files(folder)), error=_unforeseen(found.name, error))


def read_whole(folder: Path, name: str, now: float) -> Read:
    """With every check; what is checked is what is returned."""
    found = place(folder, name)
    if found is None:
        return Read(name, None)
    # Before they are read: a change meanwhile is then seen by the next look.
    stamp = _stamp(found.files(folder))
    try:
        return _whole(folder, found, stamp, now)
    except Exception as error:  # whatever a file holds, it is set aside and ends nothing
        return Read(name, found, stamp, error=_unforeseen(name, error))


def read_leaves(folder: Path, found: Sequence[Place], now: float) -> list[Read]:
    return [read_leaf(folder, each, now) for each in found]


def read_wholes(folder: Path, names: Sequence[str], now: float) -> list[Read]:
    return [read_whole(folder, name, now) for name in names]


def stamps(folder: Path, found: Sequence[Place]) -> list[int]:
    """One for each: it differs when a file of it does."""
    return [_stamp(each.files(folder)) for each in found]


def stamped(folder: Path, names: Sequence[str]) -> list[tuple[Place | None, int]]:
    """Where each is, and its stamp."""
    found = [place(folder, name) for name in names]
    return [(each, _stamp(each.files(folder)) if each else 0) for each in found]


def _leaf(folder: Path, found: Place, now: float) -> Read:
    files = found.files(folder)
    try:
        stamp, readable = _stamp(files), _readable(files.key)
        facts = facts_of(files.chain, read_pem(Path(files.chain)))
    except CertificateError as error:
        return Read(found.name, found, _stamp(files), error=error)
    try:
        check_dates(files.chain, facts, now)
    except CertificateError as error:
        return Read(found.name, found, stamp, readable, facts, error=error)
    return Read(found.name, found, stamp, readable, facts)


def _whole(folder: Path, found: Place, stamp: int, now: float) -> Read:
    name, files = found.name, found.files(folder)
    try:
        chain, key = read_pem(Path(files.chain)), read_pem(Path(files.key))
        staple = read_pem(Path(files.staple)) if os.path.exists(files.staple) else None
        checked = check(name, files, chain, key, staple, now)
        readable = _readable(files.key)
    except CertificateError as error:
        return Read(name, found, stamp, error=error)
    try:
        check_dates(files.chain, checked.facts, now)
    except CertificateError as error:
        return Read(name, found, stamp, readable, checked.facts, checked, error)
    return Read(name, found, stamp, readable, checked.facts, checked)


def _unforeseen(name: str, error: Exception) -> CertificateError:
    """Whatever is in one certificate's files, the others are read. What the exception says may be of a file's content:
    its type and where it comes from are told."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    kind = type(error).__name__
    log.error("certificate.unforeseen", certificate=name, error=kind, where=f"{last.filename}:{last.lineno}")
    return CertificateError(f"certificate {name}: it can't be read ({kind}, which nobody foresaw)", kind="pem")


def _stamp(files: Files) -> int:
    """One number, as a hundred thousand are held."""
    stamp: list[tuple[int, ...]] = []
    for path in (files.chain, files.key, files.staple):
        try:
            found = os.stat(path)
        except OSError:
            stamp.append(())
        else:
            stamp.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return hash(tuple(stamp))


def _readable(key: str) -> bool:
    try:
        return bool(os.stat(key).st_mode & _OTHERS)
    except OSError as error:
        raise CertificateError(f"certificate file {key}: {error.strerror}") from None
