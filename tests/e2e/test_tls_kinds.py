"""Many kinds of certificates, keys and OCSP responses at a real Envoy: what the checks take, Envoy takes."""

from __future__ import annotations

import base64
import datetime
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from demo.issuer import Issuer, Made, other_key, replace, write_flat
from demo.system import envoy_binary
from xds.certificates.reading import read_whole
from xds.resources.secrets import CertificatePair

pytestmark = pytest.mark.filterwarnings("ignore")  # cryptography warns of what it will not take in times to come

CA = Issuer()
Write = Callable[[Path], None]

_BOOTSTRAP = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: {folder}/a.crt}}
              private_key: {{filename: {folder}/a.key}}
{staple}
"""


def envoy_says(folder: Path, pair: CertificatePair) -> str:
    """Empty when Envoy takes it."""
    folder.mkdir()
    (folder / "a.crt").write_bytes(pair.chain)
    (folder / "a.key").write_bytes(pair.key)
    (folder / "a.ocsp").write_bytes(pair.staple or b"")
    staple = f"              ocsp_staple: {{filename: {folder}/a.ocsp}}" if pair.staple else ""
    (folder / "envoy.yaml").write_text(_BOOTSTRAP.format(folder=folder, staple=staple))
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(folder / "envoy.yaml"), "-l", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def issued(**options: object) -> Write:
    return lambda folder: write_flat(folder, "a", CA.issue("a.test", **options))  # type: ignore[arg-type]


def of_key(kind: str) -> Write:
    return lambda folder: write_flat(folder, "a", CA.issue("a.test", key=other_key(kind)))


def with_extension(extension: Callable[[], x509.ExtensionType], kind: str = "EC P-256") -> Write:
    return lambda folder: write_flat(folder, "a", CA.issue("a.test", key=other_key(kind), more=[extension()]))


def usage(*allowed: str) -> Callable[[], x509.KeyUsage]:
    kinds = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    every = dict.fromkeys(f"{kinds} crl_sign encipher_only decipher_only".split(), False)
    return lambda: x509.KeyUsage(**{**every, **dict.fromkeys(allowed, True)})


def exponent(number: int) -> Write:
    key = rsa.generate_private_key(number, 2048)
    return lambda folder: write_flat(folder, "a", CA.issue("a.test", key=key))


def patched(find: bytes, put: bytes) -> Write:
    """Another byte string at one place of the certificate. Its signature is nobody's, which nobody looks at."""

    def write(folder: Path) -> None:
        made = CA.issue("a.test")
        der = made.certificate.public_bytes(Encoding.DER)
        assert find in der
        write_flat(folder, "a", made)
        replace(folder / "a.crt", _pem("CERTIFICATE", der.replace(find, put, 1)))

    return write


def serial(byte: int) -> Write:
    """The serial number's first byte is another: one below zero, or longer than it need be."""

    def write(folder: Path) -> None:
        made = CA.issue("a.test")
        der = bytearray(made.certificate.public_bytes(Encoding.DER))
        der[der.index(bytes.fromhex("a003020102")) + 7] = byte
        write_flat(folder, "a", made)
        replace(folder / "a.crt", _pem("CERTIFICATE", bytes(der)))

    return write


def _pem(label: str, der: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), base64.encodebytes(der), label.encode())


def chain_of(length: int) -> Write:
    def write(folder: Path) -> None:
        issuers = [Issuer("0")]
        while len(issuers) < length:
            issuers.append(Issuer(str(len(issuers)), above=issuers[-1]))
        made = issuers[-1].issue("a.test")
        above = tuple(each.certificate for each in reversed(issuers))
        write_flat(folder, "a", Made(made.certificate, made.key, above))

    return write


def twice(folder: Path) -> None:
    """A self-signed leaf, and once more as its issuer."""
    made = Issuer("a.test").issue("a.test")
    own = _self_signed(made)
    write_flat(folder, "a", Made(own, made.key, (own,)))


def root_twice(folder: Path) -> None:
    made = CA.issue("a.test")
    write_flat(folder, "a", Made(made.certificate, made.key, (CA.certificate, CA.certificate)))


def no_authority(folder: Path) -> None:
    """Whoever issued it isn't marked as a CA."""
    middle = CA.issue("middle.test")
    maker = Issuer("middle")
    maker.key, maker.name = middle.key, middle.certificate.subject  # type: ignore[assignment]
    made = maker.issue("a.test")
    write_flat(folder, "a", Made(made.certificate, made.key, (middle.certificate,)))


def without_subject(folder: Path) -> None:
    key = other_key("EC P-256")
    write_flat(folder, "a", Made(_builder(key, x509.Name([])).sign(CA.key, hashes.SHA256()), key))


def signed_with(hash_: hashes.HashAlgorithm) -> Write:
    def write(folder: Path) -> None:
        key = other_key("EC P-256")
        made = _builder(key, x509.Name([])).sign(CA.key, hash_)  # type: ignore[arg-type]
        write_flat(folder, "a", Made(made, key, (CA.certificate,)))

    return write


def far_ahead(folder: Path) -> None:
    key = other_key("EC P-256")
    builder = _builder(key, x509.Name([]))
    builder._not_valid_after = datetime.datetime(9999, 12, 31, 23, 59, 59)
    write_flat(folder, "a", Made(builder.sign(CA.key, hashes.SHA256()), key))


def _builder(key: object, subject: x509.Name) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(CA.name)
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), critical=not subject)
    )


def _self_signed(made: Made) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    key = made.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = _builder(key, name)
    builder._issuer_name = name
    return builder.sign(key, hashes.SHA256())


def by_openssl(*steps: str) -> Write:
    """``{k}`` and ``{c}`` are the key's file and the certificate's."""

    def write(folder: Path) -> None:
        for step in steps:
            made = step.format(k=folder / "a.key", c=folder / "a.crt", d=folder)
            subprocess.run(made, shell=True, check=True, capture_output=True)

    return write


SIGN = "openssl req -x509 -new -key {k} -subj /CN=a.test -addext subjectAltName=DNS:a.test -days 20 -out {c}"


def key_as(format_: PrivateFormat, kind: str) -> Write:
    """The key in one of the other forms that are PEM."""

    def write(folder: Path) -> None:
        made = CA.issue("a.test", key=other_key(kind))
        write_flat(folder, "a", made)
        replace(folder / "a.key", made.key.private_bytes(Encoding.PEM, format_, NoEncryption()), 0o600)

    return write


def rsa_number(which: str) -> Write:
    """An RSA key of which one number is another."""

    def write(folder: Path) -> None:
        made = CA.issue("a.test", key=other_key("RSA 2048"))
        assert isinstance(made.key, rsa.RSAPrivateKey)
        numbers = made.key.private_numbers()
        said = {name: getattr(numbers, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
        said[which] ^= 4
        odd = rsa.RSAPrivateNumbers(**said, public_numbers=numbers.public_numbers)
        write_flat(folder, "a", made)
        key = odd.private_key(unsafe_skip_rsa_key_validation=True)
        replace(folder / "a.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)

    return write


def around(before: bytes, after: bytes, file: str = "a.crt") -> Write:
    """Other text in the file before and after what is PEM."""

    def write(folder: Path) -> None:
        write_flat(folder, "a", CA.issue("a.test", chained=True))
        path = folder / file
        replace(path, before + path.read_bytes() + after, 0o600)

    return write


def relabelled(label: bytes) -> Write:
    def write(folder: Path) -> None:
        write_flat(folder, "a", CA.issue("a.test"))
        path = folder / "a.crt"
        replace(path, path.read_bytes().replace(b" CERTIFICATE-", b" " + label + b"-"))

    return write


def windows_lines(folder: Path) -> None:
    write_flat(folder, "a", CA.issue("a.test", chained=True))
    for name in ("a.crt", "a.key"):
        replace(folder / name, (folder / name).read_bytes().replace(b"\n", b"\r\n"), 0o600)


def stapled(**said: object) -> Write:
    """With an OCSP response; ``said`` changes what it says."""

    def write(folder: Path) -> None:
        made = CA.issue("a.test", chained=True, must_staple=bool(said.get("must")))
        options: dict[str, object] = {"hash": hashes.SHA1(), "ends": 7, "begins": -1, "delegate": False} | said
        now = datetime.datetime.now(datetime.UTC)
        ends = options["ends"]
        builder = ocsp.OCSPResponseBuilder().add_response(
            made.certificate,
            CA.certificate,
            options["hash"],  # type: ignore[arg-type]
            ocsp.OCSPCertStatus.GOOD,
            now + datetime.timedelta(days=options["begins"]),  # type: ignore[arg-type]
            None if ends is None else now + datetime.timedelta(days=ends),  # type: ignore[arg-type]
            None,
            None,
        )
        signer, key = CA.certificate, CA.key
        if options["delegate"]:
            more = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])]
            delegate = CA.issue("ocsp.test", more=more)
            assert isinstance(delegate.key, ec.EllipticCurvePrivateKey)
            signer, key = delegate.certificate, delegate.key
            builder = builder.certificates([signer])
        how = options.get("by", ocsp.OCSPResponderEncoding.HASH)
        signed = builder.responder_id(how, signer).sign(key, hashes.SHA256())  # type: ignore[arg-type]
        write_flat(folder, "a", made, signed.public_bytes(Encoding.DER))

    return write


KINDS: dict[str, Write] = {
    "plain": issued(),
    "with its chain": issued(chained=True),
    **{f"key {kind}": of_key(kind) for kind in ("RSA 1024", "RSA 2048", "RSA 2049", "RSA 3072", "RSA 4096")},
    "key RSA 8192": by_openssl("openssl genrsa -out {k} 8192", SIGN),
    **{f"key {kind}": of_key(kind) for kind in ("EC P-384", "EC P-521", "EC secp256k1", "Ed25519")},
    "key RSA exponent 3": exponent(3),
    **{
        f"{kind} usage {'+'.join(allowed)}": with_extension(usage(*allowed), kind)
        for kind in ("EC P-256", "RSA 2048")
        for allowed in (
            ("digital_signature",),
            ("key_encipherment",),
            ("key_agreement",),
            ("key_cert_sign", "crl_sign"),
            ("digital_signature", "key_cert_sign"),
        )
    },
    "for clients alone": with_extension(lambda: x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])),
    "for anything": with_extension(lambda: x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
    "a CA's own": with_extension(lambda: x509.BasicConstraints(ca=True, path_length=0)),
    "an unknown critical extension": with_extension(
        lambda: x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    ),
    "name constraints": with_extension(lambda: x509.NameConstraints([x509.DNSName("test")], None)),
    "demands a staple": issued(must_staple=True),
    "no subject": without_subject,
    "no name at all": lambda folder: write_flat(folder, "a", CA.issue()),
    "until the year 9999": far_ahead,
    **{
        f"signed with {hash_.name}": signed_with(hash_)
        for hash_ in (hashes.SHA384(), hashes.SHA512(), hashes.SHA3_256())
    },
    "signed with sha1": by_openssl(
        "openssl genrsa -out {k} 2048", SIGN + " -sha1", "cat {c} {c} >{d}/x", "mv {d}/x {c}"
    ),
    "signed with md5": by_openssl("openssl genrsa -out {k} 2048", SIGN + " -md5"),
    "serial below zero": serial(0x80),
    "serial with a zero too many": serial(0x00),
    "version 1": patched(bytes.fromhex("a003020102"), bytes.fromhex("a003020100")),
    "version 2": patched(bytes.fromhex("a003020102"), bytes.fromhex("a003020101")),
    "version 6": patched(bytes.fromhex("a003020102"), bytes.fromhex("a003020105")),
    "critical but encoded as no DER does": patched(b"a.test", b"a.tes\x00"),
    "a name of other letters": patched(b"\x82\x06a.test", b"\x82\x06\xe4.test"),
    "a name of an unknown kind": patched(b"\x82\x06a.test", b"\xa3\x06a.test"),
    "curve spelled out": by_openssl(
        "openssl ecparam -name prime256v1 -genkey -noout -param_enc explicit -out {k}", SIGN
    ),
    "compressed point": by_openssl(
        "openssl ecparam -name prime256v1 -genkey -noout -conv_form compressed -out {k}", SIGN
    ),
    "RSA-PSS": by_openssl("openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out {k}", SIGN),
    "signed with PSS": by_openssl("openssl genrsa -out {k} 2048", SIGN + " -sigopt rsa_padding_mode:pss"),
    "Ed448": by_openssl("openssl genpkey -algorithm ED448 -out {k}", SIGN),
    "SM2": by_openssl("openssl ecparam -name SM2 -genkey -noout -out {k}", SIGN),
    "brainpool": by_openssl("openssl ecparam -name brainpoolP256r1 -genkey -noout -out {k}", SIGN),
    "DSA": by_openssl("openssl dsaparam -genkey -noout -out {k} 2048", SIGN),
    "key with EC PARAMETERS before it": by_openssl("openssl ecparam -name prime256v1 -genkey -out {k}", SIGN),
    "key behind a password": by_openssl(
        "openssl genrsa -aes128 -passout pass:x -out {k} 2048", SIGN + " -passin pass:x"
    ),
    "key curve spelled out": by_openssl(
        "openssl ecparam -name prime256v1 -genkey -noout -out {k}",
        SIGN,
        "openssl ec -in {k} -param_enc explicit -out {d}/x",
        "mv {d}/x {k}",
    ),
    "key PKCS 8 curve spelled out": by_openssl(
        "openssl ecparam -name prime256v1 -genkey -noout -out {k}",
        SIGN,
        "openssl pkey -in {k} -ec_param_enc explicit -out {d}/x",
        "mv {d}/x {k}",
    ),
    "key compressed": by_openssl(
        "openssl ecparam -name prime256v1 -genkey -noout -out {k}",
        SIGN,
        "openssl ec -in {k} -conv_form compressed -out {d}/x",
        "mv {d}/x {k}",
    ),
    "key without its public half": by_openssl(
        "openssl ecparam -name prime256v1 -genkey -noout -out {k}",
        SIGN,
        "openssl ec -in {k} -no_public -out {d}/x",
        "mv {d}/x {k}",
    ),
    "key as SEC 1": key_as(PrivateFormat.TraditionalOpenSSL, "EC P-256"),
    "key as PKCS 1": key_as(PrivateFormat.TraditionalOpenSSL, "RSA 2048"),
    "key as OpenSSH": key_as(PrivateFormat.OpenSSH, "EC P-256"),
    **{f"key with another {which}": rsa_number(which) for which in ("d", "dmp1", "dmq1", "iqmp")},
    "a chain of 12": chain_of(12),
    "a chain of 60": chain_of(60),
    "itself twice": twice,
    "the root twice": root_twice,
    "an issuer that is no CA": no_authority,
    "text before and after": around(
        b"Bag Attributes\n    localKeyID: 01\nsubject=CN = a.test\n", b"\n\ntrailing words\n"
    ),
    "text around the key": around(b"Bag Attributes\n", b"\ntrailing\n", "a.key"),
    "key and chain in one": around(b"", Made(CA.certificate, CA.key).private),
    "the key's file holds a certificate, too": around(Made(CA.certificate, CA.key).chain, b"", "a.key"),
    "a byte order mark": around(b"\xef\xbb\xbf", b""),
    "a byte order mark before the key": around(b"\xef\xbb\xbf", b"", "a.key"),
    "half a key at the end": around(b"", Made(CA.certificate, CA.key).private[:100], "a.key"),
    "another key at the end": around(b"", Made(CA.certificate, CA.key).private, "a.key"),
    "zero bytes at the end": around(b"", b"\x00\x00"),
    "half a certificate at the end": around(b"", Made(CA.certificate, CA.key).chain[:300]),
    "an empty certificate at the end": around(b"", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
    "a revocation list at the end": around(b"", b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
    "nonsense as a certificate at the end": around(b"", _pem("CERTIFICATE", b"\x30\x03\x02\x01\x01")),
    "X509 CERTIFICATE": relabelled(b"X509 CERTIFICATE"),
    "TRUSTED CERTIFICATE": relabelled(b"TRUSTED CERTIFICATE"),
    "lines as on Windows": windows_lines,
    "staple": stapled(),
    "staple that is demanded": stapled(must=True),
    "staple named with sha256": stapled(hash=hashes.SHA256()),
    "staple by name": stapled(by=ocsp.OCSPResponderEncoding.NAME),
    "staple of a delegate": stapled(delegate=True),
    "staple without an end": stapled(ends=None),
    "staple without an end of long ago": stapled(ends=None, begins=-400),
    "staple that is over": stapled(ends=-0.5),
    "demanded staple that is over": stapled(ends=-0.5, must=True),
}

TAKEN = ("plain", "with its chain", "key RSA 2048", "key RSA 4096", "key EC P-384", "key EC P-521", "no subject")
TAKEN += ("a CA's own", "key as SEC 1", "key as PKCS 1", "text before and after", "staple", "staple of a delegate")
TAKEN += ("a byte order mark", "half a certificate at the end")
"""Not everything may be set aside."""


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_checks_take_envoy_takes(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path)
    found = read_whole(tmp_path, "a", time.time())
    if kind in TAKEN:
        assert found.error is None
    if found.error is None:
        assert found.checked is not None
        assert envoy_says(tmp_path / "given", found.checked.pair) == ""
