"""HTTP to a registry: each answer has a bound of time and of bytes, and comes from the server that was asked. Redirects are not followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import httpx

from weft.rpc import bounded_json
from weft.rpc.registries.address_source import RegistryError

CALL_S = 10.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
_SHOWN = 200


class Answer(NamedTuple):
    """An answer that has come whole."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self, what: str) -> Any:
        """Its value.

        Raises:
            RegistryError: it is no JSON.
        """
        try:
            return bounded_json.loads(self.body)
        except ValueError as error:
            raise RegistryError(f"{what} answers what is no JSON: {error}") from None


class BoundedHttp:
    """Calls of one server. For one event loop.

    Args:
        what: the server's name in messages.
        base: its URL.
        verify: how its certificate is verified, as httpx takes it.
    """

    def __init__(self, what: str, base: str, verify: Any = True) -> None:
        self.what = what
        # Variables of the environment name proxies, and files of passwords: a registry is near.
        self._client = httpx.AsyncClient(
            base_url=base, verify=verify, trust_env=False, follow_redirects=False
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        within_s: float = CALL_S,
    ) -> Answer:
        """Send a request, and read the answer.

        Raises:
            RegistryError: there is none in time, or it is too large.
        """
        try:
            async with (
                asyncio.timeout(within_s),
                self._stream(method, path, query, json, headers, within_s) as response,
            ):
                return Answer(response.status_code, response.headers, await self._body(response))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._lost(error) from None

    async def lines(
        self, path: str, query: Mapping[str, Any], headers: Mapping[str, str], within_s: float
    ) -> AsyncIterator[Any]:
        """The JSON values of an answer that goes on, one a line.

        Args:
            within_s: something has to come within this time.

        Raises:
            RegistryError: it ends with an error, or a line is too long or no JSON.
        """
        rest = b""
        try:
            # Without a bound of its whole time, which would end what reads the lines.
            async with self._stream("GET", path, query, None, headers, within_s) as response:
                if response.status_code != httpx.codes.OK:
                    raise self.refused(
                        Answer(response.status_code, response.headers, await self._body(response))
                    )
                async for chunk in response.aiter_raw():
                    *whole, rest = (rest + chunk).split(b"\n")
                    if len(rest) > MAX_LINE_BYTES:
                        raise RegistryError(f"{self.what} sends a line of more than {MAX_LINE_BYTES} bytes")
                    for line in filter(None, whole):
                        yield Answer(0, response.headers, line).json(self.what)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._lost(error) from None

    def refused(self, answer: Answer) -> RegistryError:
        """The error of an answer that is not the wanted one."""
        text = " ".join(answer.body[:_SHOWN].decode(errors="replace").split())
        if 300 <= answer.status < 400:
            return RegistryError(f"{self.what} answers {answer.status}: redirects are not followed")
        return RegistryError(f"{self.what} answers {answer.status}: {text or 'no reason is told'}")

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    def _stream(
        self,
        method: str,
        path: str,
        query: Any,
        json: Any,
        headers: Mapping[str, str] | None,
        within_s: float,
    ) -> Any:
        # Coded answers could be far larger than what comes.
        given = {"Accept-Encoding": "identity", **(headers or {})}
        timeout = httpx.Timeout(CALL_S, read=within_s)
        return self._client.stream(method, path, params=query, json=json, headers=given, timeout=timeout)

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise RegistryError(f"{self.what} answers in a coding that was not asked for")
        parts, size_bytes = [], 0
        async for chunk in response.aiter_raw():
            parts.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > MAX_ANSWER_BYTES:
                raise RegistryError(f"{self.what} answers more than {MAX_ANSWER_BYTES} bytes")
        return b"".join(parts)

    def _lost(self, error: Exception) -> RegistryError:
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return RegistryError(f"{self.what} does not answer in time")
        return RegistryError(f"{self.what} cannot be reached: {error or type(error).__name__}")
