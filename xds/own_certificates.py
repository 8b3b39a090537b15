"""When the control plane's own certificates end: what it shows Envoys, callers and GDS, and the CAs that it trusts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xds.certificates.pem import parse_certificates, read_pem
from xds.errors import CertificateError
from xds.server.files import Files


class OwnCertificates:
    """``shown``, ``trusted``: the files, by the setting that names each. Read again when they change; a file that can't
    be used leaves what it said before, since that is what is in use."""

    def __init__(self, shown: Mapping[str, Path], trusted: Mapping[str, Path]) -> None:
        self._files = [(name, path, Files(path), min) for name, path in shown.items()]
        # Of several authorities the last to end counts: one that is over may stay beside the one that replaced it.
        self._files += [(name, path, Files(path), max) for name, path in trusted.items()]
        self._ends: dict[str, float] = {}

    def ends(self) -> Mapping[str, float]:
        """Seconds since 1970, by setting: of a chain, when the first of it ends."""
        for name, path, files, which in self._files:
            if files.changed():
                try:
                    found = parse_certificates(str(path), read_pem(path))
                except CertificateError:
                    continue
                self._ends[name] = which(one.not_valid_after_utc.timestamp() for one in found)
        return self._ends
