"""Joins a mesh that makes certificates by itself, before the agent starts: its port and its connections need a certificate.

As an agent dials for ever, it tries to join for ever; only a refusal that a repetition cannot change ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

import grpc

from weft.agent.process.stopping_signals import stop_on_signals
from weft.agent.settings import AgentSettings
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.rpc.security.token_source import token_source

_log = get_logger("weft.agent")

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0
# How often the log mentions that the mesh cannot be joined.
REMIND_S = 30.0

_FINAL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
)


class Joining:
    """One agent's joining. Made on its event loop."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._token = token_source(settings.shown_token)
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Give up. From any thread."""
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def run(self, *, own_process: bool) -> dict[str, Any] | None:
        """The settings to run with, instead of pin and token; None: it was stopped.

        Raises:
            WeftError: the agent cannot join.
        """
        restore = stop_on_signals(self.stop) if own_process else None
        try:
            return await self._until_joined()
        finally:
            if restore is not None:
                restore()

    async def _until_joined(self) -> dict[str, Any] | None:
        backoff_s, quiet_until_s = FIRST_BACKOFF_S, 0.0
        while not self._stopped.is_set():
            try:
                return await self._joined()
            except WeftError as error:
                if self._is_final(error):
                    raise
                if time.monotonic() >= quiet_until_s:
                    quiet_until_s = time.monotonic() + REMIND_S
                    _log.warning("session.not_joined", error=error.message, effect="trying on")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.0, backoff_s)):  # noqa: S311 - not for secrets
                    await self._stopped.wait()
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)
        return None

    async def _joined(self) -> dict[str, Any]:
        from weft.rpc.membership.membership import joined

        settings = self._settings
        assert settings.tls is not None
        tls, shown = await asyncio.to_thread(joined, settings.tls, settings.target, self._token, settings.id)
        # Unless it is shown all the same, the certificate stands for the token.
        return {"tls": tls} if shown is not None else {"tls": tls, "token": "", "token_file": ""}

    def _is_final(self, error: WeftError) -> bool:
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            # A file may get another token.
            return self._token is None or not self._token.renewable
        return error.code in _FINAL
