"""What the HTTP side may see of the control plane: reading only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xds.directory import Directory
from xds.gds.mirror import MirrorStatus
from xds.resources.routes import RouteTables
from xds.server.streams import NodeState


@dataclass(frozen=True, slots=True)
class View:
    """``counts`` gives how often was published, and how many changes of domains and pods that were."""

    directory: Directory
    mirror: MirrorStatus
    tables: RouteTables
    nodes: Callable[[], list[NodeState]]
    counts: Callable[[], tuple[int, int]]
