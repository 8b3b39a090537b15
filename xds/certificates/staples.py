"""Whether an OCSP response may be stapled to a certificate: it is of this certificate, good, and not over."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from xds.certificates.pem import UNREADABLE
from xds.errors import CertificateError


def check_staple(where: str, der: bytes, leaf: x509.Certificate, issuer: x509.Certificate | None, now: float) -> float:
    """When it ends, in seconds since 1970. Raises CertificateError. Who signed it is checked when the chain holds the
    issuer."""
    try:
        response = ocsp.load_der_ocsp_response(der)
        status = response.response_status
        if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _unusable(where, f"the responder said {status.name.lower()}")
        return _check_single(where, response, leaf, issuer, datetime.fromtimestamp(now, UTC))
    except UNREADABLE as error:
        raise _unusable(where, f"not an OCSP response in DER ({error})") from None


def _check_single(
    where: str, response: ocsp.OCSPResponse, leaf: x509.Certificate, issuer: x509.Certificate | None, now: datetime
) -> float:
    if response.serial_number != leaf.serial_number:
        raise _unusable(where, "it is about another certificate")
    if response.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise _unusable(where, f"it says that the certificate is {response.certificate_status.name.lower()}")
    if now < response.this_update_utc:
        raise _unusable(where, f"not valid before {response.this_update_utc.isoformat()}")
    if response.next_update_utc is None:
        raise _unusable(where, "it doesn't say when it ends (nextUpdate)")
    if now >= response.next_update_utc:
        raise _unusable(where, f"expired on {response.next_update_utc.isoformat()}")
    if issuer is not None:
        digest = Hash(response.hash_algorithm)
        digest.update(_key_bits(issuer.public_key()))
        if digest.finalize() != response.issuer_key_hash:
            raise _unusable(where, "it is about a certificate of another issuer")
        _check_signer(where, response, issuer)
    return response.next_update_utc.timestamp()


def _check_signer(where: str, response: ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    """The issuer signed it, or somebody whom the issuer lets sign (RFC 6960, 4.2.2.2)."""
    signer = issuer
    try:
        for delegate in response.certificates:
            if delegate != issuer:
                delegate.verify_directly_issued_by(issuer)
                uses = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
                if ExtendedKeyUsageOID.OCSP_SIGNING not in uses:
                    raise _unusable(where, "who signed it may not sign OCSP responses")
                signer = delegate
                break
        _verify(signer.public_key(), response)
    except (InvalidSignature, x509.ExtensionNotFound, *UNREADABLE):
        raise _unusable(where, "neither the issuer signed it, nor whom the issuer lets sign") from None


def _verify(key: PublicKeyTypes, response: ocsp.OCSPResponse) -> None:
    algorithm = response.signature_hash_algorithm
    if algorithm is None:
        raise ValueError("no hash")
    match key:
        case rsa.RSAPublicKey():
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        case ec.EllipticCurvePublicKey():
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))
        case _:
            raise TypeError("key")


def _key_bits(key: PublicKeyTypes) -> bytes:
    """What is hashed of an issuer's key: the bit string without its tag and length (RFC 6960, 4.1.1)."""
    match key:
        case ec.EllipticCurvePublicKey():
            return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        case rsa.RSAPublicKey():
            return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        case _:
            raise ValueError("the issuer's key is of an unknown type")


def _unusable(where: str, why: str) -> CertificateError:
    return CertificateError(f"OCSP response {where}: {why}", kind="staple")
