"""Bounds what is read of an answer of HTTP: a server may send a line without an end, and libraries keep a line until it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from weft.services.models.model_errors import garbage

# Of one answer, with all that surrounds its text.
MAX_BODY_BYTES = 64 * 1024 * 1024


class BoundedStream:
    """The body of a response that is not read yet. Each library wants a stream of its own class."""

    def __init__(self, inner: Any, backend: str) -> None:
        self._inner = inner
        self._backend = backend

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_BODY_BYTES
        async for part in self._inner:
            left -= len(part)
            if left < 0:
                raise garbage(self._backend, f"more than {MAX_BODY_BYTES // 2**20} MiB")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()
