"""A call that was refused before it was sent. It has the interface of an ended grpc.aio call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable
from typing import Any, NoReturn

import grpc
from grpc import aio

from weft.rpc import errors
from weft.rpc.calls import call_keys, metadata

_LOCALLY = "Locally cancelled by application!"


class Refused:
    """A refused call, in place of an attempt. Large because it has the whole interface of a grpc.aio call."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: aio.Metadata | None = None) -> None:
        self._code = code
        self._details = details
        self._trailers = trailers or aio.Metadata()

    @classmethod
    def by(cls, error: errors.WeftError) -> Refused:
        """A call refused with an error of weft's, including its details."""
        status = error.status()
        trailers = aio.Metadata((errors.STATUS_DETAILS_KEY, status.SerializeToString()))
        return cls(error.code, status.message, trailers)

    @classmethod
    def cancelled_here(cls) -> Refused:
        return cls(grpc.StatusCode.CANCELLED, _LOCALLY)

    @classmethod
    def for_metadata(cls, pairs: Iterable[tuple[str, Any]]) -> Refused | None:
        """A call refused for metadata that a direct call cannot have. None: the metadata is fine."""
        # gRPC would notice bad metadata later, and would never wake the coroutines that wait for the call's end.
        if problem := metadata.unfit(pairs):
            return cls(grpc.StatusCode.INTERNAL, f"metadata that cannot be sent: {problem}")
        try:
            call_keys.check_direct(pairs)
        except errors.InvalidArgument as error:
            return cls.by(error)
        return None

    def __await__(self) -> Generator[Any, None, NoReturn]:
        self._fail()
        yield  # never reached: this makes it a generator

    async def read(self) -> NoReturn:
        self._fail()

    async def __aiter__(self) -> AsyncIterator[Any]:
        self._fail()
        yield  # as above

    async def write(self, _: Any) -> NoReturn:
        raise asyncio.InvalidStateError("RPC already finished.")

    async def done_writing(self) -> None:
        pass

    async def wait_for_connection(self) -> NoReturn:
        self._fail()

    async def initial_metadata(self) -> aio.Metadata:
        return aio.Metadata()

    async def trailing_metadata(self) -> aio.Metadata:
        return self._trailers

    async def code(self) -> grpc.StatusCode:
        return self._code

    async def details(self) -> str:
        return self._details

    async def debug_error_string(self) -> str:
        return self._details

    def cancelled(self) -> bool:
        return self._code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return True

    def cancel(self) -> bool:
        return False

    def time_remaining(self) -> float | None:
        return None

    def _fail(self) -> NoReturn:
        if self.cancelled():
            raise asyncio.CancelledError
        raise aio.AioRpcError(self._code, aio.Metadata(), self._trailers, self._details, self._details)
