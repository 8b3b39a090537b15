"""All checks, one after the other; what one finds stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xds import settings as reading
from xds.check import directory, envoy, files, ports
from xds.check.finding import Finding, fail, ok
from xds.errors import SettingsError
from xds.gds.model import Snapshot
from xds.settings import Settings


def every(
    config: Path | None, *, gds: bool = True, hosts: Sequence[str] = (), with_envoy: bool = True
) -> Iterator[Finding]:
    """As they are found; ``hosts``: that GDS should know. Without settings that can be read there is but one."""
    try:
        settings = reading.load(config)
    except SettingsError as error:
        yield fail("settings", str(error), "docs/settings.md lists what can be set")
        return
    yield ok("settings", str(config) if config else "of the environment alone")
    for name, some in (*files.EVERY.items(), ("ports", ports.every)):
        yield from _all_of(name, some(settings))
    snapshot: Snapshot | None = None
    if gds:
        looked = directory.Looked()
        yield from _all_of("gds", _of_gds(settings, hosts, looked))
        snapshot = looked.snapshot
    if with_envoy:
        yield from _all_of("envoy", envoy.look(settings, snapshot))


def _of_gds(settings: Settings, hosts: Sequence[str], looked: directory.Looked) -> Iterator[Finding]:
    asyncio.run(directory.look(settings, hosts, looked))
    yield from looked.findings


def _all_of(name: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Whatever is in the way of one check, the others are made: what nobody foresaw is a finding, too."""
    found = iter(findings)
    while True:
        try:
            yield next(found)
        except StopIteration:
            return
        except OSError as error:
            yield fail(name, f"{error.filename or 'it'}: {error.strerror or error}", "give the rights, or put it right")
            return
        except Exception as error:
            yield fail(name, f"{type(error).__name__}: {error}", "nobody foresaw that: please report it")
            return
