"""The sandboxes of an agent, from their start to their end: how many there may be, those made ahead, whose time is over, who is idle."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping

import grpc

from weft.agent import Sandbox
from weft.rpc.process.logs import get_logger
from weft.services.sandboxes.kept_files import Snapshots
from weft.services.sandboxes.sandbox_life import Life, LifeState, is_idle, is_over
from weft.services.sandboxes.sandbox_provider import Box, BoxError, Providers
from weft.services.sandboxes.settings import SandboxesSettings
from weft.services.sandboxes.views import default_sandbox
from weft.services.sandboxes.warm_boxes import WarmBoxes

_log = get_logger("weft.services.sandboxes")

_LOOK_S = 0.5
# What is done with one sandbox in a pass takes no longer.
_MOST_S = 10.0
# Ended ones are remembered for so long, and so many.
_REMEMBER_S = 600.0
_REMEMBER = 200


class SandboxTable:
    """All of it; on the agent's event loop."""

    def __init__(self, settings: SandboxesSettings) -> None:
        self._settings = settings
        self._providers = Providers()
        self._lives: dict[str, Life] = {}
        self._making = 0
        self.default = default_sandbox(settings)
        self._warm = WarmBoxes(self._providers, settings.provider, self.default, settings.warm)
        self._closed = False
        self.snapshots = Snapshots(settings.snapshots_mb << 20)

    # -- life -----------------------------------------------------------------------------------------------------

    async def create(
        self,
        sandbox: Sandbox,
        provider: str,
        *,
        ttl_s: float,
        pause_when_idle_s: float,
        labels: Mapping[str, str],
        archive: AsyncIterator[bytes] | None = None,
    ) -> tuple[Life, bool]:
        """A sandbox that is ready, and whether it was made ahead.

        Args:
            archive: files that it gets.

        Raises:
            BoxError: there are too many, or it cannot be made.
        """
        alive = sum(life.state is not LifeState.ENDED for life in self._lives.values()) + self._making
        if alive >= self._settings.max_sandboxes:
            raise BoxError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"this agent has {alive} sandboxes, as many as it may have (WEFT_SANDBOXES_MAX_SANDBOXES): terminate some",
            )
        self._making += 1
        try:
            box = self._warm.take(sandbox, provider)
            warm = box is not None
            if box is None:
                box = await self._providers.get(provider).create(sandbox)
            try:
                if archive is not None:
                    await box.unpack(archive)
                # The agent may have stopped meanwhile.
                if self._closed:
                    raise BoxError(grpc.StatusCode.UNAVAILABLE, "this agent stops")
            except BaseException:
                await box.terminate("it could not be made")
                raise
        finally:
            self._making -= 1
        now_s = time.time()
        ends_at_s = now_s + ttl_s
        life = Life(
            uuid.uuid4().hex,
            box,
            sandbox,
            provider,
            now_s,
            ends_at_s,
            pause_when_idle_s,
            labels,
            used_at_s=now_s,
        )
        self._lives[life.id] = life
        box.ended.add_done_callback(lambda ended: self._on_end(life, ended))
        _log.info("sandbox.created", sandbox=life.id, provider=provider, warm=warm)
        return life, warm

    def get(self, sandbox_id: str) -> Life:
        """A sandbox, which may have ended.

        Raises:
            BoxError: there is none of this id here.
        """
        life = self._lives.get(sandbox_id)
        if life is None:
            raise BoxError(
                grpc.StatusCode.NOT_FOUND,
                f"there is no sandbox {sandbox_id!r} at this agent. Sandboxes are at the agent that made them: give its creation and all calls"
                " about it one session (metadata weft-session and weft-session-mode: hard), or call the agent at its own address",
            )
        return life

    def all(self) -> list[Life]:
        """Those that are known, oldest first."""
        return list(self._lives.values())

    @property
    def warm(self) -> int:
        """How many are made ahead."""
        return self._warm.size

    @contextlib.asynccontextmanager
    async def use(self, sandbox_id: str) -> AsyncIterator[Box]:
        """The box of a sandbox, for a call. One that was idle goes on.

        Raises:
            BoxError: it has ended, is paused, or has as many calls as it may have.
        """
        life = self.get(sandbox_id)
        if life.in_use >= self._settings.max_programs:
            raise BoxError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the sandbox has {life.in_use} calls at a time, as many as it may have (WEFT_SANDBOXES_MAX_PROGRAMS)",
            )
        life.in_use += 1
        life.used_at_s = time.time()
        try:
            async with life.changing:
                if life.state is LifeState.IDLE:
                    await life.box.resume()
                    life.state = LifeState.RUNNING
            if life.state is LifeState.PAUSED:
                raise BoxError(
                    grpc.StatusCode.FAILED_PRECONDITION, "the sandbox is paused: call ResumeSandbox first"
                )
            _check_runs(life)
            yield life.box
        finally:
            life.in_use -= 1
            life.used_at_s = time.time()

    async def pause(self, life: Life, state: LifeState = LifeState.PAUSED) -> None:
        """Stop its processes.

        Raises:
            BoxError: it has ended.
        """
        async with life.changing:
            _check_runs(life)
            if life.state is LifeState.RUNNING and not (state is LifeState.IDLE and life.in_use):
                await life.box.pause()
                life.state = state
            elif state is LifeState.PAUSED:
                life.state = state

    async def resume(self, life: Life) -> None:
        """Let its processes go on.

        Raises:
            BoxError: it has ended.
        """
        async with life.changing:
            _check_runs(life)
            if life.state is not LifeState.RUNNING:
                await life.box.resume()
                life.state = LifeState.RUNNING
                life.used_at_s = time.time()

    async def snapshot(self, life: Life) -> tuple[str, int]:
        """Keep its files. Returns the snapshot's id and size.

        Raises:
            BoxError: it has ended, or there is no room.
        """
        async with life.changing:
            _check_runs(life)
            archive = life.box.pack()
            try:
                return await self.snapshots.keep(archive)
            finally:
                await archive.aclose()  # type: ignore[attr-defined]  # a generator

    async def fork(self, life: Life) -> Life:
        """A sandbox with the same limits and files.

        Raises:
            BoxError: as `snapshot` and `create`.
        """
        snapshot_id, _ = await self.snapshot(life)
        try:
            made, _ = await self.create(
                life.sandbox,
                life.provider,
                ttl_s=max(1.0, life.ends_at_s - time.time()),
                pause_when_idle_s=life.pause_when_idle_s,
                labels=life.labels,
                archive=self.snapshots.read(snapshot_id),
            )
        finally:
            self.snapshots.delete(snapshot_id)
        return made

    def extend(self, life: Life, ttl_s: float) -> None:
        """Set when it ends, from now on.

        Raises:
            BoxError: it has ended.
        """
        _check_runs(life)
        life.ends_at_s = time.time() + ttl_s

    async def terminate(self, life: Life, why: str) -> None:
        """End it. Nothing is left when this returns."""
        await life.box.terminate(why)

    async def close(self) -> None:
        """End all of them."""
        self._closed = True
        boxes = [life.box for life in self._lives.values() if life.state is not LifeState.ENDED]
        ends = (asyncio.wait_for(each.terminate("its agent has ended"), _MOST_S) for each in boxes)
        await asyncio.gather(*ends, return_exceptions=True)
        await self._warm.close()
        await self._providers.close()
        self.snapshots.close()

    # -- in the background ----------------------------------------------------------------------------------------

    async def look_after_in_background(self) -> None:
        """End whose time is over, pause the idle, make some ahead, until the agent stops."""
        while True:
            await self.look_after(time.time())
            await asyncio.sleep(_LOOK_S)

    async def look_after(self, now_s: float) -> None:
        """One pass of it."""
        for life in list(self._lives.values()):
            if life.state is LifeState.ENDED and now_s - life.ended_at_s > _REMEMBER_S:
                del self._lives[life.id]
                continue
            # Its provider may raise anything, or hang: the others are looked after all the same, and it again next time.
            try:
                async with asyncio.timeout(_MOST_S):
                    if is_over(life, now_s):
                        await self.terminate(life, "its time is over")
                    elif is_idle(life, now_s):
                        await self.pause(life, LifeState.IDLE)
            except BoxError:
                pass
            except Exception as error:
                if not life.troubled:
                    _log.warning("sandbox.provider_failed", sandbox=life.id, error=repr(error))
                life.troubled = True
        self._warm.fill(now_s)

    def _on_end(self, life: Life, ended: asyncio.Future[str]) -> None:
        life.ended_for = "its agent has ended" if ended.cancelled() else ended.result()
        life.state, life.ended_at_s = LifeState.ENDED, time.time()
        _log.info("sandbox.ended", sandbox=life.id, reason=life.ended_for)
        over = [each for each in self._lives.values() if each.state is LifeState.ENDED][:-_REMEMBER]
        for each in over:
            del self._lives[each.id]


def _check_runs(life: Life) -> None:
    if life.state is LifeState.ENDED or life.box.ended.done():
        raise BoxError(
            grpc.StatusCode.FAILED_PRECONDITION, f"the sandbox has ended: {life.ended_for or 'just now'}"
        )
