"""mTLS for the xDS port: the server's own pair, and the CA that signs the Envoys' certificates.

The files are read again at each handshake, so that a rotation needs no restart; a pair that can't be read leaves the
one before in use.
"""

from __future__ import annotations

from pathlib import Path

import grpc
import structlog

from xds.certificates import read_authorities, read_pair
from xds.errors import CertificateError

log = structlog.get_logger()


def mtls(certificate: Path, key: Path, client_ca: Path) -> grpc.ServerCredentials:
    """Raises CertificateError when the files can't be used."""
    held = [_read(certificate, key, client_ca)]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        try:
            files = _read(certificate, key, client_ca)
        except CertificateError as error:
            log.error("xds.certificate", reason=str(error))
            return None
        if files == held[0]:
            return None
        held[0] = files
        return _configuration(*files)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(*held[0]),
        fetch,  # type: ignore[arg-type]  # None means: as before
        require_client_authentication=True,
    )


def _read(certificate: Path, key: Path, client_ca: Path) -> tuple[bytes, bytes, bytes]:
    pair = read_pair(certificate, key)
    return pair.chain, pair.key, read_authorities(client_ca)


def _configuration(chain: bytes, key: bytes, client_ca: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=client_ca)
