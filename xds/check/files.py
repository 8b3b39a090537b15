"""The files that the settings name: certificates, revocation lists, tokens, secrets, and the state folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from xds import tokens
from xds.certificates.layouts import places
from xds.certificates.pem import parse_certificates, read_authorities, read_pair
from xds.certificates.reading import read_leaf, read_whole
from xds.certificates.tickets import SECRET_BYTES
from xds.check.finding import Finding, fail, ok, skipped, warn
from xds.errors import PointsmanError
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
_DAY = 86_400.0


def every(settings: Settings) -> Iterator[Finding]:
    yield from xds_certificate(settings)
    yield from edge_certificates(settings)
    yield from state_folder(settings)
    yield from small_files(settings)


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
        yield _leaf(leaf, xds.certificate)
    try:
        authorities = x509.load_pem_x509_certificates(read_authorities(xds.client_ca))
    except PointsmanError as error:
        yield fail("xds-client-ca", str(error), "setting xds.client_ca")
        return
    last = max(each.not_valid_after_utc.timestamp() for each in authorities)
    days = (last - time.time()) / _DAY
    found = f"{xds.client_ca}: {len(authorities)} CA certificates, the last is valid for {days:.0f} days"
    if days <= 0:
        yield fail("xds-client-ca", f"{xds.client_ca}: expired", "renew it, and the Envoys' certificates")
    elif days < SOON:
        yield warn("xds-client-ca", found, "renew it, and the Envoys' certificates")
    else:
        yield ok("xds-client-ca", found)
    if xds.access.crl:
        try:
            lists = read_lists(xds.access.crl, xds.client_ca)
        except PointsmanError as error:
            yield fail("xds-crl", str(error), "setting xds.access.crl")
        else:
            yield ok("xds-crl", f"{len(lists)} lists, {sum(len(each.serials) for each in lists)} certificates revoked")


def _leaf(leaf: x509.Certificate, path: Path) -> Finding:
    name = "xds-certificate"
    days = (leaf.not_valid_after_utc.timestamp() - time.time()) / _DAY
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except x509.ExtensionNotFound:
        names = []
    found = f"{path}: for {', '.join(names) or 'no name'}, valid for {days:.0f} days"
    if days <= 0:
        return fail(name, f"{path}: expired", "renew it: no Envoy connects")
    if NAME not in names:
        return warn(name, found, f"Envoys ask for the name {NAME} unless their bootstrap says another (--name)")
    return warn(name, found, "renew it") if days < SOON else ok(name, found)


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
            yield warn(name, f"{found}; its key may be read by others", "chmod 600")
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
            yield ok("token", f"{settings.http.token_file}: orders need it")
    elif len(settings.http.replicas) > 1:
        yield warn(
            "token",
            f"each of the {len(settings.http.replicas)} control planes of http.replicas makes one of its own, so an "
            "order to all is refused by the others",
            "give all the same (setting http.token_file)",
        )
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
    elif secret.stat().st_mode & 0o077:
        yield warn("ticket-secret", f"{secret}: others may read it", "chmod 600")
    else:
        yield ok("ticket-secret", f"{secret}: {size} bytes")
