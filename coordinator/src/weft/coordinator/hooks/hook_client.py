"""Sends deliveries by HTTP: to allowed addresses alone, without redirects, in bounded time, and reads little of the answer."""

from __future__ import annotations

import asyncio
import email.utils
import math
import socket
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import aiohttp

from weft.coordinator.hooks.outgoing_url import Network, check_address, place_of
from weft.rpc.errors import FailedPrecondition

# For all of a delivery, and for its connection.
TOTAL_S, CONNECT_S = 30.0, 10.0
# Read of an answer.
ANSWER_BYTES = 1024
MAX_RETRY_AFTER_S = 86400.0
_HEADER_BYTES = 8190


class Sent(NamedTuple):
    """The answer of a receiver.

    Attributes:
        retry_after_s: when it wants the next attempt; None: it says nothing.
        text: the beginning of its body.
    """

    status: int
    retry_after_s: float | None
    text: str


class NotSent(Exception):
    """No answer came; the message says why."""


class HookClient:
    """Sends.

    Args:
        networks: those that are allowed though they are not public.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Send one delivery.

        Raises:
            FailedPrecondition: HOOK_ADDRESS_REFUSED.
            NotSent
        """
        place = place_of(url)
        refused: list[FailedPrecondition] = []

        def connect(found: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
            """The socket of a connection. What is checked here is the address that is connected to, whatever its name means elsewhere."""
            family, kind, protocol, _, address = found
            try:
                check_address(place, str(address[0]), self._networks)
            except FailedPrecondition as error:
                refused.append(error)
                raise OSError(error.message) from None
            return socket.socket(family, kind, protocol)

        # One for each delivery: no connection is used again that was checked for another hook.
        connector = aiohttp.TCPConnector(socket_factory=connect, force_close=True, use_dns_cache=False)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=TOTAL_S, sock_connect=CONNECT_S),
                    trust_env=False,
                    auto_decompress=False,
                    max_line_size=_HEADER_BYTES,
                    max_field_size=_HEADER_BYTES,
                    skip_auto_headers=("Accept", "Accept-Encoding"),
                ) as session,
                session.post(url, data=body, headers=dict(headers), allow_redirects=False) as answer,
            ):
                text = await answer.content.read(ANSWER_BYTES)
                wait_s = _retry_after_s(answer.headers.get("Retry-After", ""), time.time())
                return Sent(answer.status, wait_s, text.decode("utf-8", "replace"))
        except TimeoutError:
            raise NotSent(f"no answer within {TOTAL_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            if refused:
                raise refused[0] from None
            raise NotSent(str(error) or type(error).__name__) from None


def _retry_after_s(text: str, now: float) -> float | None:
    """The seconds of a header: a number, or a date."""
    if text.isdecimal() and len(text) < 10:
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    left_s = at - now
    return min(left_s, MAX_RETRY_AFTER_S) if math.isfinite(left_s) and left_s > 0 else None
