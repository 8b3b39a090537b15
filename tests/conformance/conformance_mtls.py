"""mTLS for the tests: a CA of their own, the server's pair, and a client certificate for each name asked for."""

from __future__ import annotations

from pathlib import Path

import grpc
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from demo.certificates import Authority


class Certificates:
    """Everything is signed by one CA, and stands in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority()
        self._ca = self._authority.certificate.public_bytes(Encoding.PEM)
        self._authority.issue(folder, "server", ("localhost", "127.0.0.1"), ExtendedKeyUsageOID.SERVER_AUTH)

    def server(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials([self._pair("server")], self._ca, require_client_auth=True)

    def client(self, name: str) -> grpc.ChannelCredentials:
        """The credentials of a client whose certificate is valid for ``name``."""
        if not (self._folder / f"{name}.crt").exists():
            self._authority.issue(self._folder, name, (name,), ExtendedKeyUsageOID.CLIENT_AUTH)
        key, chain = self._pair(name)
        return grpc.ssl_channel_credentials(self._ca, key, chain)

    def _pair(self, name: str) -> tuple[bytes, bytes]:
        return (self._folder / f"{name}.key").read_bytes(), (self._folder / f"{name}.crt").read_bytes()
