"""Who is at the other end of a connection, by the certificate that it has shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

_NAMES = "x509_subject_alternative_name"
_COMMON = "x509_common_name"
_SPIFFE = "spiffe://"


class PeerCertificate(NamedTuple):
    """What a verified certificate says of its holder.

    Attributes:
        subject: its SPIFFE id, else its first host name or address.
        common_name: a name for people; in certificates that a mesh makes by itself, the id of the token that it stands for.
    """

    subject: str
    common_name: str = ""


def subject_of(auth_context: Mapping[str, Iterable[bytes]]) -> str:
    """The subject of the peer's certificate: its SPIFFE id, else its first name; empty: it has shown none.

    Args:
        auth_context: as gRPC's context of a call has it. gRPC has verified the certificate.
    """
    names = [name.decode(errors="replace") for name in auth_context.get(_NAMES, ())]
    ids = [name for name in names if name.startswith(_SPIFFE)]
    if len(ids) > 1:
        # By the standard, such a certificate has no identity.
        return ""
    return next(iter((*ids, *names)), "")


def certificate_of(auth_context: Mapping[str, Iterable[bytes]]) -> PeerCertificate | None:
    """The peer's certificate. None: it has shown none, or none with an identity."""
    subject = subject_of(auth_context)
    if not subject:
        return None
    common = next(iter(auth_context.get(_COMMON, ())), b"").decode(errors="replace")
    return PeerCertificate(subject, common)
