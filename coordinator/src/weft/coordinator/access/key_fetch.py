"""Fetches an issuer's key set by HTTPS: bounded in time and size, without redirects."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from weft.coordinator.access.jwt_issuer import JwtIssuer, is_safe_url
from weft.coordinator.access.jwt_signature import JwtFault, SigningKeys, read_keys
from weft.rpc import bounded_json
from weft.rpc.process.version import VERSION

MAX_BYTES = 1024 * 1024
FETCH_S = 5.0
_CHUNK = 65_536


class FetchFault(Exception):
    """Keys could not be fetched; the message says from where, and why."""


async def fetched_keys(issuer: JwtIssuer) -> SigningKeys:
    """The keys of an issuer, from its URL or from the one that its discovery document names.

    Raises:
        FetchFault
    """
    return await asyncio.to_thread(_fetched, issuer)


def _fetched(issuer: JwtIssuer) -> SigningKeys:
    url = issuer.keys or _discovered(issuer)
    try:
        return read_keys(_get(url, issuer.ca))
    except JwtFault as fault:
        raise FetchFault(f"{url}: {fault}") from None


def _discovered(issuer: JwtIssuer) -> str:
    """The URL of the key set, as OpenID Connect Discovery tells it."""
    url = f"{issuer.issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        document: Any = bounded_json.loads(_get(url, issuer.ca))
        told, keys = document["issuer"], document["jwks_uri"]
    except (ValueError, KeyError, TypeError):
        raise FetchFault(f"{url} is no discovery document with an issuer and a jwks_uri") from None
    if told != issuer.issuer or not isinstance(keys, str):
        raise FetchFault(f"{url} is that of another issuer than {issuer.issuer}")
    return keys


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead anywhere: the policy names the place."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _get(url: str, ca: str) -> bytes:
    """
    Raises:
        FetchFault
    """
    if not is_safe_url(url):
        raise FetchFault(f"{url[:200]} does not begin with https://")
    ends_s = time.monotonic() + FETCH_S
    try:
        context = ssl.create_default_context(cafile=ca or None)
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
        request = urllib.request.Request(  # noqa: S310
            url, headers={"Accept": "application/json", "User-Agent": f"weft/{VERSION}"}
        )
        found = bytearray()
        with opener.open(request, timeout=FETCH_S) as response:
            while chunk := response.read1(_CHUNK):
                found += chunk
                if len(found) > MAX_BYTES:
                    raise FetchFault(f"{url} has more than {MAX_BYTES} bytes")
                if time.monotonic() > ends_s:
                    raise FetchFault(f"{url} takes more than {FETCH_S:g} s")
    except urllib.error.HTTPError as error:
        raise FetchFault(f"{url} answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise FetchFault(f"cannot reach {url}: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchFault(f"cannot read {url}: {error or type(error).__name__}") from None
    return bytes(found)
