"""A HAProxy map file into the store: the way from the old proxy's ``backend.map``, all in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gds_mock.bulk import Loaded, Stage
from gds_mock.store import Store
from gds_mock.values import Pod, is_pod_name

_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to. ``empty_pods`` were named by the map alone and have no endpoints yet."""

    loaded: Loaded
    domains: int
    empty_pods: tuple[str, ...]


def import_map(store: Store, lines: Iterable[bytes], pods: Sequence[Pod] = (), by: str | None = None) -> Imported:
    """Adds and moves what the map says, and deletes nothing; ``by``: who says it. Raises BadLines when any line is bad.

    A map that puts one host on two pods is bad: which one HAProxy meant depends on its kind of lookup.
    """
    known = {pod.name for pod in store.pods()} | {pod.name for pod in pods}
    named: set[str] = set()
    domains = 0
    with store.stage() as stage:
        rows = []
        for number, raw in enumerate(lines, 1):
            pair = _pair(stage, number, raw)
            if pair is None:
                continue
            host, pod = pair
            named.add(pod)
            stage.promise((pod,))
            row = stage.row(number, host, pod)
            if row is not None:
                domains += 1
                rows.append(row)
            if len(rows) >= _BATCH:
                stage.add(rows)
                rows.clear()
        stage.add(rows)
        stage.reject_contradictions()
        empty = tuple(sorted(named - known))
        return Imported(stage.apply((*pods, *(Pod(name) for name in empty)), by), domains, empty)


def _pair(stage: Stage, number: int, raw: bytes) -> tuple[str, str] | None:
    """The host and the pod of a line; None for a comment, an empty line, and a bad one, which is rejected."""
    try:
        words = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).decode().split()
    except UnicodeDecodeError:
        stage.reject(number, "not UTF-8")
        return None
    if not words or words[0].startswith("#"):
        return None
    if len(words) != 2:
        stage.reject(number, f"must be a host and a pod, but has {len(words)} words")
        return None
    if not is_pod_name(words[1]):
        stage.reject(number, f"{words[1][:80]!r} is not a pod's name")
        return None
    return words[0], words[1]
