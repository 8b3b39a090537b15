"""The pods where GDS can't name their addresses: a JSON file, ``[{"name", "datacenter", "endpoints": [...]}]``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from xds.errors import RecordError, SettingsError
from xds.gds.model import UNREADABLE, Pod, check_pod

_LONGEST = 64 * 1024 * 1024


def parse(data: bytes) -> tuple[Pod, ...]:
    """Raises RecordError, naming the pod. One bad pod refuses the file: somebody is writing it by hand."""
    try:
        pods = msgspec.json.decode(data, type=tuple[Pod, ...])
    except UNREADABLE as error:
        raise RecordError(f"not a JSON list of pods: {error}") from None
    names: set[str] = set()
    for pod in pods:
        check_pod(pod)
        if pod.name in names:
            raise RecordError(f"pod {pod.name} stands in it twice")
        names.add(pod.name)
    if not pods:
        raise RecordError("it has no pods")
    return pods


def read(path: Path) -> tuple[Pod, ...]:
    """Raises SettingsError."""
    try:
        with path.open("rb") as file:
            return parse(file.read(_LONGEST))
    except OSError as error:
        raise SettingsError(f"pods file {path}: {error.strerror} (setting lookup.pods)") from None
    except RecordError as error:
        raise SettingsError(f"pods file {path}: {error} (setting lookup.pods)") from None
