"""Who is at the other end of a connection, by the certificate that it has shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_NAMES = "x509_subject_alternative_name"
_SPIFFE = "spiffe://"


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
