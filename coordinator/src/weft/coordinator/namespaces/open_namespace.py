"""One namespace of a coordinator beside the default one: closed, opened when a call or its row asks for it, and closed again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

from weft.coordinator.namespaces import namespace_context
from weft.coordinator.namespaces.namespace import Namespace
from weft.coordinator.store.open_errors import StoreError
from weft.rpc import refusals
from weft.rpc.calls import relay
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.handler_shape import with_behaviour
from weft.rpc.network.routes import Routes
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# Handlers that are kept: far more than a namespace has methods.
_KEPT = 8192
# Calls of a namespace that is deleted get so long to end by themselves.
_END_S = 1.0


class OpenNamespace:
    """A namespace that is open, or being opened or closed.

    Args:
        make: makes its mesh, not open yet.
    """

    def __init__(self, name: str, make: Callable[[], Namespace]) -> None:
        self.name = name
        self.mesh = make()
        self.used_at_s = time.monotonic()
        self._routes = Routes()
        # Open calls, and why they are being ended.
        self._calls: dict[asyncio.Task[Any], WeftError | None] = {}
        # By path: a handler, and the same one, counted.
        self._handlers: dict[str, tuple[Any, Any]] = {}
        self._ready = False
        # All that goes on in it begins here, or with a call.
        context = namespace_context.context_of(name)
        self._opening = asyncio.get_running_loop().create_task(
            self._open(), name=f"open {name}", context=context
        )
        self.closed: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes calls now."""
        return self._ready

    @property
    def calls(self) -> int:
        """Open calls."""
        return len(self._calls)

    async def opened(self) -> None:
        """Wait until it is open.

        Raises:
            Unavailable: it cannot be opened now.
        """
        # A caller that goes away must not end it for the others.
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        try:
            self.mesh.serve_on(self._routes)
            await self.mesh.open()
            try:
                await self.mesh.start()
            except BaseException:
                await self.mesh.stop(_away(self.name))
                await self.mesh.close()
                raise
        except WeftError:
            raise
        except (StoreError, OSError) as error:
            log.error("namespace.not_opened", namespace=self.name, error=str(error))  # noqa: TRY400
            raise _away(self.name) from error
        except Exception as error:
            log.exception("namespace.not_opened", namespace=self.name)
            raise _away(self.name) from error
        self._ready = True
        log.info("namespace.opened", namespace=self.name, unfinished=self.mesh.unfinished())

    def handler(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call. It is open."""
        inner = self._routes.service(details)
        if inner is None:
            return None
        path: str = details.method
        known = self._handlers.get(path)
        if known is not None and known[0] is inner:
            return known[1]
        made = with_behaviour(inner, partial(self._run))
        if len(self._handlers) >= _KEPT:
            self._handlers.clear()
        self._handlers[path] = inner, made
        return made

    async def _run(self, behaviour: Callable[..., Any], request: Any, context: Any) -> Any:
        """One call, which keeps it open."""
        task = asyncio.current_task()
        assert task is not None
        namespace_context.enter(self.name)
        if not self._ready:
            # Closed while the request was read.
            await relay.refuse(_away(self.name), context)
        self._calls[task] = None
        try:
            return await behaviour(request, context)
        except asyncio.CancelledError:
            if (why := self._calls[task]) is None:
                raise
            task.uncancel()
        finally:
            del self._calls[task]
            self.used_at_s = time.monotonic()
        return await relay.refuse(why, context)

    def stop_calls(self) -> None:
        """Take no more calls."""
        self._ready = False

    async def close(self, why: WeftError) -> None:
        """Close it; its open calls and sessions end with `why`. Each step is bounded."""
        self._ready = False
        namespace_context.enter(self.name)
        try:
            await self._opening
        except WeftError:
            return
        await self.mesh.stop(why)
        if self._calls:
            await asyncio.wait(list(self._calls), timeout=_END_S)
        for task in list(self._calls):
            self._calls[task] = why
            task.cancel()
        await self.mesh.close()
        log.info("namespace.closed", namespace=self.name)


def _away(name: str) -> Unavailable:
    return refusals.store_unavailable(
        f"the namespace {name} cannot be opened at the moment", retry_after_s=1.0
    )
