"""The connections to our own port, as the kernel has them: gRPC tells nothing of one before its handshake is done."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

import psutil

_SOCK_DIAG, _BY_FAMILY = 4, 20
_ERROR, _DONE = 2, 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ESTABLISHED, _CLOSE_WAIT = 1, 8
_STATES = 1 << _ESTABLISHED | 1 << _CLOSE_WAIT
_MAPPED = bytes(10) + b"\xff\xff"


class Address(NamedTuple):
    """Of a peer; as text it is what gRPC calls it, so that all logs call it the same."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"ipv6:%5B{self.host}%5D:{self.port}" if ":" in self.host else f"ipv4:{self.host}:{self.port}"


@lru_cache(4096)
def peer_address(peer: str) -> Address | None:
    """From ``context.peer()``: ``ipv4:127.0.0.1:43210``, ``ipv6:%5B::1%5D:43210``. None for another kind of peer."""
    family, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    if family not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    try:
        ip = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return Address(str(mapped or ip), int(port))


class Connections:
    """Callable: who is connected to ``address`` and ``port`` now, in no other state than open.

    On Linux the kernel is asked for this port's sockets alone (as ``ss`` does); where that can't be, psutil lists all
    that this process has, at many times the cost.
    """

    def __init__(self, address: str, port: int) -> None:
        wanted = ip_address(address)
        self._host = "" if wanted.is_unspecified else str(wanted)
        self._port = port
        self._diag = hasattr(socket, "AF_NETLINK")

    def __call__(self) -> set[Address]:
        """Raises OSError or psutil.Error."""
        if self._diag:
            try:
                return {peer for host, peer in _diagnosed(self._port) if self._host in ("", host)}
            except OSError:  # no such module in the kernel, or it may not be asked
                self._diag = False
        return {peer for host, peer in _listed(self._port) if self._host in ("", host)}


def _diagnosed(port: int) -> Iterator[tuple[str, Address]]:
    """Our side's host, and the peer. See sock_diag(7)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as link:
        link.settimeout(1.0)
        for family in (socket.AF_INET, socket.AF_INET6):
            ask = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _STATES)
            ask += struct.pack("!HH", port, 0) + bytes(36) + b"\xff" * 8  # any address, any interface, any cookie
            link.sendall(struct.pack("=IHHII", 16 + len(ask), _BY_FAMILY, _DUMP, 1, 0) + ask)
            yield from _answers(link, port)


def _answers(link: socket.socket, port: int) -> Iterator[tuple[str, Address]]:
    while True:
        data = link.recv(1 << 18)
        at = 0
        while at < len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(-struct.unpack_from("=i", data, at + 16)[0], "sock_diag")
            family = data[at + 16]
            ours, theirs = struct.unpack_from("!HH", data, at + 20)
            if ours == port:
                yield _host(family, data[at + 24 : at + 40]), Address(_host(family, data[at + 40 : at + 56]), theirs)
            at += length + 3 & ~3


def _host(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    if raw.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def _listed(port: int) -> Iterator[tuple[str, Address]]:
    for found in psutil.Process().net_connections(kind="tcp"):
        if (
            found.raddr
            and found.laddr.port == port
            and found.status in (psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT)
        ):
            yield _plain(found.laddr.ip), Address(_plain(found.raddr.ip), found.raddr.port)


def _plain(host: str) -> str:
    return host.removeprefix("::ffff:") if "." in host else host
