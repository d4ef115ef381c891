"""Checks of certificates: of those that this command is set up with, and of those that servers show it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping

from weft.cli.doctor.diagnosis import Diagnosis, ok, problem, warning
from weft.rpc.errors import WeftError
from weft.rpc.membership.present_tls import present
from weft.rpc.network.connection_faults import served_times
from weft.rpc.network.targets import parse
from weft.rpc.security.channel_credentials import ChannelSecurity
from weft.rpc.security.own_certificate import OwnCertificate
from weft.rpc.security.tls import Tls, chosen
from weft.rpc.security.tls_files import read
from weft.rpc.security.token_source import token_source

_DAY_S = 86400.0
# A certificate ends soon if so little is left of it. Those that live for a day are renewed when a third is left.
_FEW_DAYS = 14.0
_LITTLE = 0.25
# Servers that are asked.
_ASKED = 50
_SUBJECT = "certificates"


def settings(target: str) -> tuple[Tls | None, list[Diagnosis]]:
    """TLS as the options and variables of the command say, and what is wrong with it. None: it has none, or none that works. With a pin,
    it joins the mesh.

    Args:
        target: the coordinators.
    """
    try:
        given = chosen(None)
        tls, _ = present(given, parse(target), token_source())
        own = None if tls is None else read(tls, time.time()).own
    except WeftError as error:
        return None, [problem(_SUBJECT, error.message, "docs/how-to/tls.md says how TLS is set up")]
    if given is not None and given.pin:
        return tls, [
            ok(_SUBJECT, "the mesh was joined by its pin and the token; this end has a certificate of it")
        ]
    return tls, list(findings(tls, own, time.time()))


def findings(tls: Tls | None, own: OwnCertificate | None, now_s: float) -> Iterator[Diagnosis]:
    """What the settings and the own certificate mean. Without TLS there is nothing to say."""
    if tls is None:
        return
    if own is None:
        yield ok(_SUBJECT, f"others are verified by {tls.ca}; this end has none of its own")
        return
    days = (own.ends_s - now_s) / _DAY_S
    text = f"others are verified by {tls.ca}; this end is {own.subject or own.server_name}, for {days:.0f} more days"
    if _ends_soon(own.begins_s, own.ends_s, now_s):
        yield warning(_SUBJECT, text, f"renew {tls.cert}: weft certs renew")
    else:
        yield ok(_SUBJECT, text)


async def served(servers: Mapping[str, tuple[str, str]], security: ChannelSecurity | None) -> list[Diagnosis]:
    """Which servers' certificates end soon.

    Args:
        servers: by subject, their addresses and the names in their certificates; empty: the address' host.
        security: this command's TLS. None: nobody is asked.
    """
    if security is None:
        return []
    asked = list(servers.items())[:_ASKED]
    times = await asyncio.gather(*(served_times(address, security, name) for _, (address, name) in asked))
    found = (_end(subject, at, time.time()) for (subject, _), at in zip(asked, times, strict=True) if at)
    return [each for each in found if each is not None]


def _end(subject: str, times: tuple[float, float], now_s: float) -> Diagnosis | None:
    begins_s, ends_s = times
    if not _ends_soon(begins_s, ends_s, now_s):
        return None
    text = f"its certificate ends in {max(0.0, ends_s - now_s) / _DAY_S:.1f} days"
    return warning(
        subject,
        text,
        "renew it where it runs: weft certs renew; a running process takes the new one by itself",
    )


def _ends_soon(begins_s: float, ends_s: float, now_s: float) -> bool:
    return ends_s - now_s < min(_FEW_DAYS * _DAY_S, _LITTLE * (ends_s - begins_s))
