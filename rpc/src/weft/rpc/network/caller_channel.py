"""A channel whose calls say who makes them: they show a token, and name a namespace."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

from weft.rpc.security.namespace_names import NAMESPACE_KEY, named_in
from weft.rpc.security.token_metadata import TOKEN_KEY, shows_token
from weft.rpc.security.token_source import Shown

# Where a callable with a stream of requests takes the metadata, if it is given by position.
_METADATA_AT = 2


class _Callable:
    """A method of a stub. What a call says already is left alone."""

    def __init__(self, plain: Any, source: Shown | None, namespace: str) -> None:
        self._plain = plain
        self._source = source
        self._namespace = namespace

    def __call__(self, *args: Any, **how: Any) -> Any:
        if len(args) > _METADATA_AT:
            before, metadata, after = args[:_METADATA_AT], args[_METADATA_AT], args[_METADATA_AT + 1 :]
            return self._plain(*before, self._shown(metadata), *after, **how)
        how["metadata"] = self._shown(how.get("metadata"))
        return self._plain(*args, **how)

    def _shown(self, metadata: Any) -> Any:
        pairs: tuple[tuple[str, str | bytes], ...] = tuple(metadata) if metadata else ()
        if self._namespace and not named_in(pairs):
            pairs = (*pairs, (NAMESPACE_KEY, self._namespace))
        if self._source is None or any(shows_token(key, value) for key, value in pairs):
            return pairs
        text = self._source.text()
        return (*pairs, (TOKEN_KEY, text)) if text else pairs


class CallerChannel(aio.Channel):
    """Passes every call on, with the token and the namespace.

    Args:
        source: None: there is no token.
        namespace: empty: none.
    """

    def __init__(self, plain: aio.Channel, source: Shown | None, namespace: str = "") -> None:
        self._plain = plain
        self._source = source
        self._namespace = namespace

    def unary_unary(self, method: str, *more: Any, **how: Any) -> Any:
        return _Callable(self._plain.unary_unary(method, *more, **how), self._source, self._namespace)

    def unary_stream(self, method: str, *more: Any, **how: Any) -> Any:
        return _Callable(self._plain.unary_stream(method, *more, **how), self._source, self._namespace)

    def stream_unary(self, method: str, *more: Any, **how: Any) -> Any:
        return _Callable(self._plain.stream_unary(method, *more, **how), self._source, self._namespace)

    def stream_stream(self, method: str, *more: Any, **how: Any) -> Any:
        return _Callable(self._plain.stream_stream(method, *more, **how), self._source, self._namespace)

    async def close(self, grace: float | None = None) -> None:
        await self._plain.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._plain.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._plain.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._plain.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
