"""The command ``pointsman serve``."""

from __future__ import annotations

import asyncio
import os

from xds.cli.options import Config


def serve(config: Config = None) -> None:
    """Follows GDS and serves xDS until SIGTERM or Ctrl-C.

    Examples:
        pointsman serve -c pointsman.toml
        POINTSMAN_XDS__PORT=18000 pointsman serve -c pointsman.toml
    """
    # gRPC's core writes lines of its own to stderr, also for what is told in one line and in our words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from xds import logs, settings

    loaded = settings.load(config)
    from xds import control_plane  # after: what is wrong with the settings is said sooner without

    logs.configure(loaded.log.level, loaded.log.format)
    asyncio.run(control_plane.run(loaded))
