"""All checks, one after the other; what one finds stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from xds import settings as reading
from xds.check import directory, envoy, files, ports
from xds.check.finding import Finding, fail, ok
from xds.errors import SettingsError
from xds.gds.model import Snapshot


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
    yield from files.every(settings)
    yield from ports.every(settings)
    snapshot: Snapshot | None = None
    if gds:
        looked = asyncio.run(directory.look(settings, hosts))
        snapshot = looked.snapshot
        yield from looked.findings
    if with_envoy:
        yield envoy.look(settings, snapshot)
