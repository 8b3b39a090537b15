"""mTLS for the xDS port: the server's own pair, and the CA that signs the Envoys' certificates.

At each handshake the files are looked at, and read again when they have changed, so that a rotation needs no restart.
Open connections keep what they were made with. Files that can't be used leave those before in use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import structlog

from xds.certificates.pem import read_authorities, read_pair
from xds.errors import CertificateError
from xds.server.files import Files

log = structlog.get_logger()


def mtls(
    certificate: Path, key: Path, client_ca: Path, on_handshake: Callable[[], None] = lambda: None
) -> grpc.ServerCredentials:
    """Raises CertificateError when the files can't be used.

    ``on_handshake`` is called at the start of each, on a thread of gRPC's; it must not raise.
    """
    current = _Current(certificate, key, client_ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        on_handshake()
        return current.changed()

    return grpc.dynamic_ssl_server_credentials(
        current.configuration,
        fetch,  # type: ignore[arg-type]  # None means: as before
        require_client_authentication=True,
    )


class _Current:
    def __init__(self, certificate: Path, key: Path, client_ca: Path) -> None:
        self._paths = certificate, key, client_ca
        self._stamps = Files(certificate, key, client_ca)
        self._stamps.changed()
        self._content = _read(*self._paths)
        self._lock = threading.Lock()  # handshakes begin on more than one thread
        self.configuration = _configuration(*self._content)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration, once; else None."""
        with self._lock:
            if not self._stamps.changed():
                return None
            try:
                content = _read(*self._paths)
            except CertificateError as error:
                log.error("xds.certificate", reason=str(error), kept="the pair before")
                return None
            if content == self._content:
                return None
            self._content = content
            log.info("xds.certificate", certificate=str(self._paths[0]))
            return _configuration(*content)


def _read(certificate: Path, key: Path, client_ca: Path) -> tuple[bytes, bytes, bytes]:
    pair = read_pair(certificate, key)
    return pair.chain, pair.key, read_authorities(client_ca)


def _configuration(chain: bytes, key: bytes, client_ca: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=client_ca)
