"""Clients that say which certificate they were shown, and whether a session was resumed."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess

from cryptography import x509


def shown(port: int, name: str | None, timeout: float = 20) -> x509.Certificate:
    """The certificate that a client is shown for the SNI ``name``. Raises OSError (ssl.SSLError) when refused."""
    with connected(port, name, timeout) as tls:
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)


def connected(port: int, name: str | None, timeout: float = 20) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def refused(port: int, name: str | None) -> bool:
    try:
        shown(port, name)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def openssl(*arguments: str, stdin: str = "", timeout: float = 30) -> str:
    """What `openssl s_client` says."""
    done = subprocess.run(
        ["openssl", "s_client", *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.stdout + done.stderr


def resumed(said: str) -> bool:
    return re.search(r"^Reused, ", said, re.MULTILINE) is not None
