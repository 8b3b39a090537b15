"""The files that the settings name: certificates, revocation lists, tokens, secrets, and the state folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509

from xds import tokens
from xds.certificates.layouts import places
from xds.certificates.pem import parse_certificates, read_authorities, read_pair
from xds.certificates.reading import read_leaf, read_whole
from xds.certificates.tickets import SECRET_BYTES
from xds.check.finding import Finding, fail, ok, skipped, warn
from xds.errors import PointsmanError
from xds.gds.client import token_header, trust
from xds.lookup import pods_file
from xds.server.revocation import read_lists
from xds.settings import Settings
from xds.state.folder import StateFolder

NAME = "pointsman"
"""What Envoy's bootstrap asks of the control plane's certificate, unless it is told otherwise."""
SOON = 14.0
"""Days before its end from which on a certificate is warned of."""
ROOM = 1 << 30
"""Bytes that should be free where the state is."""
SHOWN = 5
OTHERS = 0o007
"""Rights of every user. A group may have been made for it."""
_DAY = 86_400.0


def xds_certificate(settings: Settings) -> Iterator[Finding]:
    xds = settings.xds
    if xds.plaintext:
        yield ok("xds-certificate", f"plaintext on {xds.address}: for one machine alone")
        return
    assert xds.certificate is not None
    assert xds.key is not None
    assert xds.client_ca is not None
    try:
        pair = read_pair(xds.certificate, xds.key)
        (leaf, *_) = parse_certificates(str(xds.certificate), pair.chain)
    except PointsmanError as error:
        yield fail("xds-certificate", str(error), "settings xds.certificate, xds.key")
    else:
        yield _leaf("xds-certificate", leaf, xds.certificate, xds.key, NAME)
    authorities = _authorities("xds-client-ca", xds.client_ca, "renew it, and the Envoys' certificates")
    yield authorities
    if authorities.level != "fail" and xds.access.crl:
        try:
            lists = read_lists(xds.access.crl, xds.client_ca)
        except PointsmanError as error:
            yield fail("xds-crl", str(error), "setting xds.access.crl")
        else:
            yield ok("xds-crl", f"{len(lists)} lists, {sum(len(each.serials) for each in lists)} certificates revoked")


def _authorities(name: str, path: Path, advice: str) -> Finding:
    try:
        authorities = x509.load_pem_x509_certificates(read_authorities(path))
    except PointsmanError as error:
        return fail(name, str(error), f"setting {name.replace('-', '.', 1).replace('-', '_')}")
    last = max(each.not_valid_after_utc.timestamp() for each in authorities)
    days = (last - time.time()) / _DAY
    found = f"{path}: {len(authorities)} CA certificates, the last is valid for {days:.0f} days"
    if days <= 0:
        return fail(name, f"{path}: expired", advice)
    return warn(name, found, advice) if days < SOON else ok(name, found)


def _leaf(name: str, leaf: x509.Certificate, path: Path, key: Path, host: str = "") -> Finding:
    """``host``: that it should be for."""
    now = time.time()
    days = (leaf.not_valid_after_utc.timestamp() - now) / _DAY
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except x509.ExtensionNotFound:
        names = []
    found = f"{path}: for {', '.join(names) or 'no name'}, valid for {days:.0f} days"
    if days <= 0:
        return fail(name, f"{path}: expired", "renew it: nobody connects")
    if leaf.not_valid_before_utc.timestamp() > now:
        return fail(
            name, f"{path}: not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", "is the clock right?"
        )
    if host and host not in names:
        return warn(name, found, f"Envoys ask for the name {host} unless their bootstrap says another (--name)")
    if days < SOON:
        return warn(name, found, "renew it")
    if key.stat().st_mode & OTHERS:
        return warn(name, f"{found}; every user may read its key {key}", "chmod 600, or 640 for a group of its own")
    return ok(name, found)


def http_certificate(settings: Settings) -> Iterator[Finding]:
    http = settings.http
    if http.certificate is None or http.key is None:
        if not http.loopback:
            yield warn(
                "http-certificate",
                f"none, and {http.address} isn't loopback: a token goes over the network as it is",
                "settings http.certificate, http.key",
            )
        return
    try:
        (leaf, *_) = parse_certificates(str(http.certificate), read_pair(http.certificate, http.key).chain)
    except PointsmanError as error:
        yield fail("http-certificate", str(error), "settings http.certificate, http.key")
    else:
        yield _leaf("http-certificate", leaf, http.certificate, http.key)
    if http.client_ca is not None:
        yield _authorities("http-client-ca", http.client_ca, "renew it, and the certificates of who orders")


def gds_files(settings: Settings) -> Iterator[Finding]:
    """What GDS is shown, and by what it is known: read, not tried."""
    credentials = settings.gds.credentials
    named = [
        path for path in (credentials.ca, credentials.certificate, credentials.key, credentials.token_file) if path
    ]
    if not named:
        return
    try:
        trust(credentials)
        token_header(credentials.token_file)
    except PointsmanError as error:
        yield fail("gds-files", str(error), "settings gds.ca, gds.certificate, gds.key, gds.token_file")
    else:
        yield ok("gds-files", ", ".join(map(str, named)))


def edge_certificates(settings: Settings) -> Iterator[Finding]:
    edge, now = settings.edge, time.time()
    read = read_whole(edge.certificates, edge.certificate, now)
    name = "edge-certificate"
    if read.place is None:
        yield fail(
            name,
            f"{edge.certificates} holds no certificate {edge.certificate!r}",
            f"put {edge.certificate}.crt and {edge.certificate}.key there (settings edge.certificates, .certificate)",
        )
    elif read.error or read.facts is None:
        yield fail(name, str(read.error), "every client is shown this one: renew or mend it")
    else:
        days = (read.facts.not_after - now) / _DAY
        found = f"{edge.certificate}: for {', '.join(read.facts.names[:SHOWN])}, valid for {days:.0f} days"
        if days < SOON:
            yield warn(name, found, "renew it")
        elif read.readable:
            yield warn(name, f"{found}; every user may read its key", "chmod 600, or 640 for a group of its own")
        else:
            yield ok(name, found)
    try:
        found_places = list(places(edge.certificates))
    except OSError as error:
        yield fail("edge-certificates", f"{edge.certificates}: {error.strerror}", "setting edge.certificates")
        return
    bad = []
    soon = 0
    for place in found_places:
        leaf = read_leaf(edge.certificates, place, now)
        if leaf.error is not None:
            bad.append(str(leaf.error))
        elif leaf.facts and leaf.facts.not_after - now < SOON * _DAY:
            soon += 1
    said = f"{edge.certificates}: {len(found_places)} certificates, {soon} of them end within {SOON:.0f} days"
    if bad:
        more = f"; {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        yield warn(
            "edge-certificates", f"{said}; {len(bad)} can't be used: {'; '.join(bad[:SHOWN])}{more}", "mend them"
        )
    elif soon:
        yield warn("edge-certificates", said, "renew them")
    else:
        yield ok("edge-certificates", said)


def state_folder(settings: Settings) -> Iterator[Finding]:
    state, name = settings.state, "state"
    if not state.enabled:
        yield warn(
            name, "state.enabled is false", "a restart without GDS then serves nothing, and no rollback is there"
        )
        return
    folder = state.folder
    there = folder if folder.exists() else next(one for one in folder.absolute().parents if one.exists())
    if not there.is_dir():
        yield fail(name, f"{there} is no folder", "remove it, or name another (setting state.folder)")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield fail(name, f"{folder}: {there} can't be written by this user", "give the rights (setting state.folder)")
        return
    free = shutil.disk_usage(there).free
    if not folder.exists():
        yield ok(name, f"{folder}: will be made; {free >> 20:,} MiB are free")
        return
    kept = StateFolder(folder, state.keep).kept()
    newest = f"newest is revision {kept[0].revision}" if kept else "empty"
    found = f"{folder}: {newest}; {free >> 20:,} MiB are free{'; in use by a control plane' if _locked(folder) else ''}"
    if folder.stat().st_mode & 0o077:
        yield warn(
            name, f"{found}; others may read it", "chmod 700: it holds the names of all customers, and the token"
        )
    elif free < ROOM:
        yield warn(name, found, "make room")
    else:
        yield ok(name, found)


def _locked(folder: Path) -> bool:
    try:
        with open(folder / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def small_files(settings: Settings) -> Iterator[Finding]:
    if settings.gds.mode == "lookup":
        try:
            pods = pods_file.read(settings.lookup.pods)
        except PointsmanError as error:
            yield fail("pods-file", str(error), "GDS says no more than a pod's name: this file says where it is")
        else:
            yield ok("pods-file", f"{settings.lookup.pods}: {len(pods):,} pods")
    if settings.http.token_file:
        try:
            tokens.read(settings.http.token_file)
        except PointsmanError as error:
            yield fail("token", str(error), "nobody could release or roll back (setting http.token_file)")
        else:
            said = f"{settings.http.token_file}: orders need it"
            if settings.http.token_file.stat().st_mode & OTHERS:
                yield warn("token", f"{said}; every user may read it", "chmod 600, or 640 for a group of its own")
            else:
                yield ok("token", said)
    elif len(settings.http.replicas) > 1:
        yield warn(
            "token",
            f"each of the {len(settings.http.replicas)} control planes of http.replicas makes one of its own, so an "
            "order to all is refused by the others",
            "give all the same (setting http.token_file)",
        )
    if settings.http.audit_file:
        yield _audit_file(settings.http.audit_file)
    secret = settings.edge.tls.tickets.secret
    if secret is None and len(settings.http.replicas) > 1:
        yield warn(
            "ticket-secret",
            "none is set: a client that comes to the Envoy of another control plane begins its session anew",
            "give all the same 32 random bytes (setting edge.tls.tickets.secret)",
        )
        return
    if secret is None:
        yield skipped("ticket-secret", "none is set: sessions are resumed at the Envoys of this control plane only")
        return
    try:
        size = len(secret.read_bytes())
    except OSError as error:
        yield fail("ticket-secret", f"{secret}: {error.strerror}", "setting edge.tls.tickets.secret")
        return
    if size < SECRET_BYTES:
        yield fail("ticket-secret", f"{secret}: {size} bytes", f"put at least {SECRET_BYTES} random ones there")
    elif secret.stat().st_mode & OTHERS:
        yield warn("ticket-secret", f"{secret}: every user may read it", "chmod 600, or 640 for a group of its own")
    else:
        yield ok("ticket-secret", f"{secret}: {size} bytes")


def _audit_file(file: Path) -> Finding:
    """It is written, and others beside it when it is set aside."""
    if file.is_dir():
        return fail("audit-file", f"{file} is a folder", "name a file (setting http.audit_file)")
    if not os.access(file.parent, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.W_OK)):
        why = "can't be written by this user" if file.parent.is_dir() else f"there is no folder {file.parent}"
        return fail("audit-file", f"{file}: {why}", "no order would be on disk (setting http.audit_file)")
    return ok("audit-file", f"{file}: orders are written there")


EVERY: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "xds-certificate": xds_certificate,
    "edge-certificate": edge_certificates,
    "http-certificate": http_certificate,
    "gds-files": gds_files,
    "state": state_folder,
    "files": small_files,
}
"""By the name of what each begins with."""
