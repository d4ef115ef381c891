"""Checks of the certificates that this command is set up with. Pure, but for the reading of the files."""

from __future__ import annotations

import time
from collections.abc import Iterator

from weft.cli.doctor.diagnosis import Diagnosis, ok, problem, warning
from weft.rpc.errors import InvalidArgument
from weft.rpc.security.own_certificate import OwnCertificate
from weft.rpc.security.tls import Tls, chosen
from weft.rpc.security.tls_files import read

_FEW_DAYS = 14.0
_SUBJECT = "certificates"


def settings() -> tuple[Tls | None, list[Diagnosis]]:
    """TLS as the options and variables of the command say, and what is wrong with it. None: it has none, or none that works."""
    try:
        tls = chosen(None)
        own = None if tls is None else read(tls, time.time()).own
    except InvalidArgument as error:
        return None, [problem(_SUBJECT, error.message, "docs/how-to/tls.md says how TLS is set up")]
    return tls, list(findings(tls, own, time.time()))


def findings(tls: Tls | None, own: OwnCertificate | None, now_s: float) -> Iterator[Diagnosis]:
    """What the settings and the own certificate mean. Without TLS there is nothing to say."""
    if tls is None:
        return
    if own is None:
        yield ok(_SUBJECT, f"others are verified by {tls.ca}; this end has none of its own")
        return
    days = (own.ends_s - now_s) / 86400
    text = f"others are verified by {tls.ca}; this end is {own.subject or own.server_name}, for {days:.0f} more days"
    if days < _FEW_DAYS:
        yield warning(_SUBJECT, text, f"renew {tls.cert}: weft certs renew")
    else:
        yield ok(_SUBJECT, text)
