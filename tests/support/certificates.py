"""Certificates for tests: an authority in a folder, and what it signs; good ones, and bad ones of every kind."""

from __future__ import annotations

import dataclasses
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from weft.rpc.security.certificates import KeyPair, Names, issue, new_authority
from weft.rpc.security.tls import VARIABLES, Tls


class TestAuthority:
    """An authority whose files are in a folder."""

    __test__ = False

    def __init__(self, folder: Path, name: str = "test mesh") -> None:
        self.folder = folder
        # How the certificates in files were made, by name.
        self.issued: dict[str, dict[str, Any]] = {}
        self.pair = new_authority(name, datetime.now(UTC))
        self.ca = folder / f"{name.replace(' ', '-')}-ca.pem"
        self.ca.write_bytes(self.pair.certificate)

    def issue(
        self,
        name: str,
        *,
        dns: tuple[str, ...] = (),
        ips: tuple[str, ...] = ("127.0.0.1",),
        spiffe: str = "",
        ago: timedelta = timedelta(0),
        days: float = 90.0,
    ) -> KeyPair:
        """A certificate that was made some time ago, or will be."""
        names = Names(name, dns or (name,), ips, (spiffe,) if spiffe else ())
        return issue(self.pair, names, datetime.now(UTC) - ago, days)

    def tls(self, name: str, *, mutual: bool = True, server_name: str = "", **how: Any) -> Tls:
        """A new certificate in files, as settings; with `mutual`, ports want certificates too."""
        pair = self.issue(name, **how)
        self.issued[name] = how
        cert, key = written(self.folder / name, pair)
        ca = str(self.ca)
        return Tls(ca, str(cert), str(key), server_name=server_name, client_ca=ca if mutual else "")


def ended_authority(of: TestAuthority) -> TestAuthority:
    """The same authority, with the same key, whose own certificate has ended 10 days ago, and whose certificates have not."""
    key = serialization.load_pem_private_key(of.pair.key, None)
    before = x509.load_pem_x509_certificate(of.pair.certificate)
    now = datetime.now(UTC)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder(
        before.issuer,
        before.subject,
        before.public_key(),
        before.serial_number,
        now - timedelta(days=30),
        now - timedelta(days=10),
        list(before.extensions),
    )
    ended = TestAuthority(of.folder, "ended")
    ended.ca.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    # It signs as the one that has not ended.
    ended.pair = of.pair
    return ended


def variables(tls: Tls) -> dict[str, str]:
    """The environment of a process with these settings."""
    found = {VARIABLES[each.name]: getattr(tls, each.name) for each in dataclasses.fields(tls)}
    return {name: value for name, value in found.items() if value}


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Those of a stock client with these settings."""
    ca, key, cert = (Path(name).read_bytes() if name else None for name in (tls.ca, tls.key, tls.cert))
    return grpc.ssl_channel_credentials(ca, key, cert)


def written(base: Path, pair: KeyPair) -> tuple[Path, Path]:
    """The files of a certificate and its key. A later call replaces them."""
    cert, key = base.with_name(f"{base.name}.pem"), base.with_name(f"{base.name}-key.pem")
    for path, content in ((key, pair.key), (cert, pair.certificate)):
        partial = path.with_suffix(".partial")
        partial.write_bytes(content)
        partial.chmod(0o600)
        partial.replace(path)
    return cert, key


def by_openssl(folder: Path, name: str, *how: str) -> tuple[Path, Path]:
    """A certificate that signs itself, made by the openssl command: of kinds that weft makes none of."""
    cert, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    made = ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", f"/CN={name}", "-addext", names]
    subprocess.run(
        [*made, "-keyout", key, "-out", cert, *(how or ("-newkey", "rsa:2048"))],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return cert, key


def signed_by_sha1(authority: TestAuthority, name: str) -> tuple[Path, Path]:
    """A certificate of the authority that is signed by SHA-1, made by the openssl command."""
    base = authority.folder / name
    key, request, cert = base.with_suffix(".key"), base.with_suffix(".csr"), base.with_suffix(".pem")
    signer = base.with_suffix(".signer")
    signer.write_bytes(authority.pair.key)
    made = ["openssl", "req", "-nodes", "-newkey", "rsa:2048", "-subj", f"/CN={name}"]
    subprocess.run([*made, "-keyout", key, "-out", request], check=True, capture_output=True)
    signed = ["openssl", "x509", "-req", "-in", request, "-sha1", "-days", "30", "-CAcreateserial"]
    subprocess.run(
        [*signed, "-CA", authority.ca, "-CAkey", signer, "-out", cert], check=True, capture_output=True
    )
    key.chmod(0o600)
    return cert, key
