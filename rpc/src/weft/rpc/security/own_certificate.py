"""Checks a certificate and its key by a handshake of them with themselves, in memory. No parser of certificates is needed.

The handshake shows whether TLS can use them together, and what the certificate says.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

# "Do not check the time" (X509_V_FLAG_NO_CHECK_TIME), which the ssl module does not name: what has ended is read too.
_ANY_TIME = 0x200000
# Keys of at least 112 bits of security, and no signature by SHA-1 or MD5.
_STRENGTH = "DEFAULT:@SECLEVEL=2"
_WRONG_PURPOSE = 26


class UnusableCertificate(Exception):
    """TLS cannot use these files; the message says why."""


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """What a process' own certificate says."""

    subject: str
    dns: tuple[str, ...]
    ips: tuple[str, ...]
    uris: tuple[str, ...]
    # Seconds since 1970.
    begins_s: float
    ends_s: float

    @property
    def server_name(self) -> str:
        """The name by which this certificate is verified at a port; empty: it has none."""
        return next(iter((*self.dns, *self.ips)), "")


def examined(cert: Path, key: Path) -> OwnCertificate:
    """Check the pair.

    Raises:
        UnusableCertificate: TLS cannot use it.
        OSError: a file cannot be read.
    """
    try:
        own, other = _own(ssl.PROTOCOL_TLS_SERVER, cert, key), _trusting(ssl.PROTOCOL_TLS_CLIENT, cert)
        try:
            found = _shown(own, other, own_serves=True)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code != _WRONG_PURPOSE:
                raise
            # It is for clients alone.
            own, other = _own(ssl.PROTOCOL_TLS_CLIENT, cert, key), _trusting(ssl.PROTOCOL_TLS_SERVER, cert)
            other.load_cert_chain(cert, key, _no_password)
            found = _shown(own, other, own_serves=False)
    except ssl.SSLError as error:
        raise UnusableCertificate(_in_words(error)) from None
    names: list[tuple[str, str]] = found.get("subjectAltName", [])
    subject = {kind: text for part in found.get("subject", ()) for kind, text in part}
    return OwnCertificate(
        subject=subject.get("commonName", ""),
        dns=tuple(name for kind, name in names if kind == "DNS"),
        ips=tuple(str(ip_address(name.strip())) for kind, name in names if kind == "IP Address"),
        uris=tuple(name for kind, name in names if kind == "URI"),
        begins_s=ssl.cert_time_to_seconds(found["notBefore"]),
        ends_s=ssl.cert_time_to_seconds(found["notAfter"]),
    )


def _own(protocol: int, cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.set_ciphers(_STRENGTH)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(cert, key, _no_password)
    return context


def _trusting(protocol: int, cert: Path) -> ssl.SSLContext:
    """A context that trusts this certificate itself, at any time."""
    context = ssl.SSLContext(protocol)
    context.set_ciphers(_STRENGTH)
    context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _ANY_TIME)
    context.load_verify_locations(cafile=cert)
    return context


def _shown(own: ssl.SSLContext, other: ssl.SSLContext, *, own_serves: bool) -> dict[str, Any]:
    """What the other end of a handshake knows of the own certificate."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        own.wrap_bio(there, back, server_side=own_serves),
        other.wrap_bio(back, there, server_side=not own_serves),
    ]
    open_ends = list(ends)
    # A handshake has fewer turns than this.
    for _ in range(10):
        for end in tuple(open_ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.remove(end)
    found: dict[str, Any] | None = ends[1].getpeercert()
    if not found:
        raise UnusableCertificate("the handshake with itself did not end")
    return found


def _no_password() -> str:
    # Without it, OpenSSL would ask at the terminal.
    raise UnusableCertificate(
        "the key has a password: weft reads only keys without one, in files for its user alone"
    )


def _in_words(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in ("CA_MD_TOO_WEAK", "EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL"):
        return "it is too weak: it is signed by SHA-1 or MD5, or its key is too short; make one with SHA-256 (`weft certs issue`)"
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is that of another certificate"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return f"it is not a certificate in PEM form with its private key ({reason or error})"
