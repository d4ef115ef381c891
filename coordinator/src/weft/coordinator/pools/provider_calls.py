"""The calls of a provider: each has a deadline, and one at a time for each member; what fails is kept for the next plan."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial

from weft.coordinator.pools.provider import AgentProvider, FreezingProvider, ListedMember
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

LIST_S, START_S, STOP_S = 5.0, 120.0, 10.0
# Starts at a time.
STARTS = 16
_MAX_FAULT_CHARS = 300

Call = Callable[[], Awaitable[None]]


class ProviderCalls:
    """Asks a provider.

    Args:
        done: called after each call that was made beside the looks.

    Attributes:
        problem: why the provider did not answer when it was last asked. Empty: it did.
    """

    problem = ""

    def __init__(self, provider: AgentProvider, done: Callable[[], None]) -> None:
        self._provider, self._done = provider, done
        self._faults: dict[str, str] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._starts = asyncio.Semaphore(STARTS)

    @property
    def busy(self) -> AbstractSet[str]:
        """The members of calls that are under way."""
        return self._under_way.keys()

    def faults_of(self, member_ids: Iterable[str]) -> dict[str, str]:
        """Starts and freezes that have failed, and why."""
        return {each: self._faults[each] for each in member_ids if each in self._faults}

    def faults_taken(self, member_ids: Iterable[str]) -> None:
        """They are in the store now."""
        for member_id in member_ids:
            self._faults.pop(member_id, None)

    async def list(self) -> Mapping[str, ListedMember] | None:
        """What the provider has. None: it does not answer."""
        try:
            async with asyncio.timeout(LIST_S):
                found = await self._provider.list()
        except Exception as error:
            self._note(_text(error, LIST_S))
            return None
        self._note("")
        return found

    def _note(self, problem: str) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem:
            log.warning("pools.provider_silent", provider=self._provider.name, error=problem)
        else:
            log.info("pools.provider_answers", provider=self._provider.name)

    def ask_start(self, member_id: str, start: Call) -> None:
        """Start a member, beside the looks."""
        self._ask(member_id, start, START_S, starts=True, told=True)

    def ask_stop(self, member_id: str, grace_s: float) -> None:
        """Begin to stop a member."""
        self._ask(member_id, partial(self._provider.stop, member_id, grace_s), STOP_S)

    def ask_forget(self, member_id: str) -> None:
        """Forget a member that has ended."""
        self._ask(member_id, partial(self._provider.forget, member_id), STOP_S)

    def ask_freeze(self, member_id: str, *, thaw: bool = False) -> None:
        """Let a member stand still, or go on."""
        provider = self._provider
        if isinstance(provider, FreezingProvider):
            self._ask(
                member_id, partial(provider.thaw if thaw else provider.freeze, member_id), STOP_S, told=True
            )

    def _ask(
        self, member_id: str, call: Call, limit_s: float, *, starts: bool = False, told: bool = False
    ) -> None:
        """
        Args:
            told: `faults_of` tells if it fails.
        """
        if member_id in self._under_way:
            return

        async def within() -> None:
            try:
                if starts:
                    async with self._starts, asyncio.timeout(limit_s):
                        await call()
                else:
                    async with asyncio.timeout(limit_s):
                        await call()
            except Exception as error:
                why = _text(error, limit_s)
                log.warning(
                    "pool.provider_failed", provider=self._provider.name, agent_id=member_id, error=why
                )
                if told:
                    self._faults[member_id] = why
            finally:
                del self._under_way[member_id]
                self._done()

        self._under_way[member_id] = asyncio.get_running_loop().create_task(within())

    async def close(self) -> None:
        """Cancel what is under way. The members go on."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._provider.close()


def _text(error: Exception, limit_s: float) -> str:
    """What has failed, for operators."""
    if isinstance(error, TimeoutError):
        return f"the provider did not answer within {limit_s:g} s"
    return (str(error) or type(error).__name__)[:_MAX_FAULT_CHARS]
