"""Tells the service manager how the process stands: systemd's `sd_notify`, a datagram to a socket that it names. Where
nobody manages it, nothing is said."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

MARGIN = 10.0
"""Seconds that an end may take beyond those that settings give it: threads, the disk, traces that are still sent."""


def listening(said: str) -> None:
    """It is up: whoever started it may go on. ``said`` is what `systemctl status` shows."""
    _tell("READY=1", f"STATUS={said}")


def ending(seconds: float) -> None:
    """It ends now, and that takes so long: more than `TimeoutStopSec`, perhaps."""
    _tell("STOPPING=1", "STATUS=Sends its Envoys elsewhere", f"EXTEND_TIMEOUT_USEC={int((seconds + MARGIN) * 1e6)}")


async def alive() -> None:
    """Says that the event loop runs, twice as often as is asked for (`WatchdogSec`). Never ends."""
    every = _watchdog()
    if not every:
        await asyncio.Event().wait()
    while True:
        _tell("WATCHDOG=1")
        await asyncio.sleep(every / 2)


def _watchdog() -> float:
    """Seconds; 0 where nobody asks, or asks another process than this one."""
    try:
        of, every = int(os.environ.get("WATCHDOG_PID", os.getpid())), int(os.environ.get("WATCHDOG_USEC", 0))
    except ValueError:
        return 0.0
    return every / 1e6 if of == os.getpid() else 0.0


def _tell(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    where = f"\0{address[1:]}" if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.setblocking(False)  # a manager that doesn't read must not stop us
        told.sendto("\n".join(lines).encode(), where)
