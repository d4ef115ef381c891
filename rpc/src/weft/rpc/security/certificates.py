"""Makes certificates: an authority of one's own, and the certificates that it signs. Pure but for randomness; PEM in, PEM out.

The one module that imports `cryptography` (the extra `security`). It is imported by those who make certificates alone:
connections that use them do without it.

Of a *signing request* (CSR) only the key is taken, and the proof that its sender has it: the authority alone says for whom a certificate is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650.0
DAYS = 90.0
# A certificate is valid from this long before it is made: the clocks of a mesh differ.
BACKDATED = timedelta(hours=1)
# A request is a key, a name and a signature.
MAX_REQUEST_BYTES = 8 * 1024
_MAX_COMMON_NAME = 64


# What the library raises for bytes that it does not read.
_UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class CertificateFault(ValueError):
    """A certificate cannot be made as it was asked for, or a file is none; the message says why."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Names:
    """Whom a certificate is for.

    Args:
        common: a name for people.
        dns: host names, and names by which an agent's port is verified.
        ips: IP addresses.
        uris: identities, such as "spiffe://mesh/agent/worker-1".
    """

    common: str
    dns: Sequence[str] = ()
    ips: Sequence[str] = ()
    uris: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What people want to know of a certificate."""

    names: Names
    issuer: str
    begins: datetime
    ends: datetime
    authority: bool
    # The hash of its signature, such as "sha256".
    signature: str
    fingerprint: str


class PrivateKey:
    """A new private key of a process. It never leaves its machine: the signing request has the public half."""

    def __init__(self) -> None:
        self._key = _new_key()
        self.pem = _key_pem(self._key)

    def request(self) -> bytes:
        """A signing request, as PEM."""
        made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def new_authority(name: str, now: datetime, days: float = CA_DAYS) -> KeyPair:
    """A certificate authority (CA) that signs itself, with a new key."""
    key = _new_key()
    subject = _subject(name)
    made = (
        _builder(subject, subject, key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(_pem(made), _key_pem(key))


def issue(authority: KeyPair, names: Names, now: datetime, days: float = DAYS) -> KeyPair:
    """A certificate with a new key, signed by the authority. It serves for both ends of a connection.

    Raises:
        CertificateFault: a name is none, the authority cannot sign, or it ends before the certificate would begin.
    """
    key = _new_key()
    made = _signed(authority, key.public_key(), names, now, timedelta(days=days), serves=True)
    return KeyPair(made, _key_pem(key))


def sign_request(
    authority: KeyPair, request: bytes, names: Names, now: datetime, lifetime: timedelta, *, serves: bool
) -> bytes:
    """A certificate for the key of a signing request, as PEM.

    Args:
        request: PEM, of any origin.
        serves: it is for the port of a server, too; otherwise for callers alone.

    Raises:
        CertificateFault: as `issue`; or it is no request, its key is weak, or its sender does not have the key.
    """
    if len(request) > MAX_REQUEST_BYTES:
        raise CertificateFault(f"a signing request has at most {MAX_REQUEST_BYTES} bytes")
    try:
        asked = x509.load_pem_x509_csr(request)
        key, proved = asked.public_key(), asked.is_signature_valid
    except _UNREADABLE:
        raise CertificateFault("this is no signing request in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise CertificateFault("the key of a signing request must be one of the curve P-256 or P-384")
    if not proved:
        raise CertificateFault("the signature of the signing request is not that of its key")
    return _signed(authority, key, names, now, lifetime, serves=serves)


def crossed(authority: KeyPair, other: bytes) -> bytes:
    """The certificate of another authority, signed by this one, as PEM: who trusts this one can verify what that one signs.

    Args:
        other: of the same name as this one, so that both count as one in the length of a chain.

    Raises:
        CertificateFault: one of the two is damaged.
    """
    signer, signer_key, found = _read(authority.certificate), _read_key(authority.key), _read(other)
    key = found.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or found.subject != signer.subject:
        raise CertificateFault("the other authority has another kind of key, or another name")
    ends = min(found.not_valid_after_utc, signer.not_valid_after_utc)
    made = (
        _builder(found.subject, signer.subject, key, found.not_valid_before_utc + BACKDATED, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False
        )
        .sign(signer_key, hashes.SHA256())
    )
    return _pem(made)


def _signed(
    authority: KeyPair,
    key: ec.EllipticCurvePublicKey,
    names: Names,
    now: datetime,
    lifetime: timedelta,
    *,
    serves: bool,
) -> bytes:
    signer, signer_key = _read(authority.certificate), _read_key(authority.key)
    if not _is_authority(signer):
        raise CertificateFault(
            f"the certificate of {_common(signer.subject)} is no authority: it cannot sign others"
        )
    if signer.not_valid_after_utc <= now:
        raise CertificateFault(
            f"the authority {_common(signer.subject)} has ended on {signer.not_valid_after_utc:%Y-%m-%d}: make a new one"
        )
    ends = min(now + lifetime, signer.not_valid_after_utc)
    ways = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
    made = (
        _builder(_subject(names.common), signer.subject, key, now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(ways), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(_alternatives(names, serves=serves)), critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    return _pem(made)


def locked_key(key: bytes, passphrase: bytes) -> bytes:
    """A private key, encrypted by a passphrase.

    Raises:
        CertificateFault: it is no key.
    """
    return _read_key(key).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def unlocked_key(key: bytes, passphrase: bytes) -> bytes:
    """The private key that `locked_key` has encrypted.

    Raises:
        CertificateFault: the passphrase is another one.
    """
    try:
        return _key_pem(_read_key(key, passphrase))
    except CertificateFault:
        raise CertificateFault("the passphrase is not that of the key") from None


def renewed(authority: KeyPair, certificate: bytes, now: datetime) -> KeyPair:
    """A certificate for the same names and for as long, with a new key.

    Raises:
        CertificateFault: as `issue`.
    """
    before = facts(certificate)
    lifetime = before.ends - before.begins - BACKDATED
    return issue(authority, before.names, now, lifetime / timedelta(days=1))


def facts(certificate: bytes) -> CertificateFacts:
    """What the first certificate of a PEM text says.

    Raises:
        CertificateFault: it is none.
    """
    found = _read(certificate)
    try:
        return CertificateFacts(
            names=_names(found),
            issuer=_common(found.issuer),
            begins=found.not_valid_before_utc,
            ends=found.not_valid_after_utc,
            authority=_is_authority(found),
            signature=_signature(found),
            fingerprint=found.fingerprint(hashes.SHA256()).hex(),
        )
    except _UNREADABLE as error:
        # Its parts are read when they are asked for.
        raise CertificateFault(f"a part of this certificate cannot be read: {error}") from None


# -- inside ---------------------------------------------------------------------------------------------------------


_CURVES = (ec.SECP256R1, ec.SECP384R1)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _subject(common: str) -> x509.Name:
    if not 0 < len(common) <= _MAX_COMMON_NAME:
        raise CertificateFault(
            f"a name has 1 to {_MAX_COMMON_NAME} characters, and {common!r} has {len(common)}"
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Names, *, serves: bool) -> list[x509.GeneralName]:
    if serves and not (names.dns or names.ips):
        raise CertificateFault(
            f"the certificate of {names.common} has neither a host name nor an IP address: nobody could verify its port"
        )
    try:
        return [
            *(x509.DNSName(each) for each in names.dns),
            *(x509.IPAddress(ipaddress.ip_address(each)) for each in names.ips),
            *(x509.UniformResourceIdentifier(each) for each in names.uris),
        ]
    except ValueError as error:
        raise CertificateFault(f"the certificate of {names.common} cannot have a name: {error}") from None


def _names(certificate: x509.Certificate) -> Names:
    common = _common(certificate.subject)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names(common)
    return Names(
        common,
        found.get_values_for_type(x509.DNSName),
        [str(each) for each in found.get_values_for_type(x509.IPAddress)],
        found.get_values_for_type(x509.UniformResourceIdentifier),
    )


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _signature(certificate: x509.Certificate) -> str:
    try:
        used = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        used = None
    return used.name if used is not None else certificate.signature_algorithm_oid.dotted_string


def _read(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except _UNREADABLE as error:
        raise CertificateFault(f"this is no certificate in PEM form: {error}") from None


def _read_key(key: bytes, password: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    try:
        found = serialization.load_pem_private_key(key, password)
    except _UNREADABLE as error:
        raise CertificateFault(f"this is no private key in PEM form without a password: {error}") from None
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise CertificateFault(
            "the authority's key is no key of elliptic curves: `weft certs init` makes one"
        )
    return found


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
