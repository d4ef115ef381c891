"""One call of a method on each agent that hosts it, as tasks that require their agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from weft.client.methods import Method
from weft.client.options import SubmitOptions
from weft.client.task_handle import response_of
from weft.client.task_snapshot import Task
from weft.client.tasks import Tasks
from weft.rpc.errors import WeftError

Resp = TypeVar("Resp")

# Calls under way at a time: a coordinator bounds the queues of a method, and each agent has one.
CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class AgentOutcome(Generic[Resp]):
    """The outcome of a call on one agent."""

    agent_id: str
    # None: the agent could not take the call.
    task: Task | None
    # None: it succeeded.
    error: WeftError | None
    method: Method[Any, Resp]

    def result(self) -> Resp:
        """The response.

        Raises:
            WeftError: the call failed, with the handler's code, message and details; or the agent could not take it.
        """
        if self.error is not None:
            raise self.error
        assert self.task is not None
        return response_of(self.task, self.method)


async def call_each(
    tasks: Tasks,
    agent_ids: Sequence[str],
    called: Method[Any, Resp],
    request: Any,
    options: SubmitOptions,
) -> AsyncGenerator[AgentOutcome[Resp]]:
    """Call a method on each of these agents; the outcomes come as the calls end."""

    async def call(agent_id: str) -> AgentOutcome[Resp]:
        task: Task | None = None
        try:
            own = SubmitOptions(**{**options, "agent_id": agent_id})
            handle = await tasks.submit(called, request, **own)
            task = await handle.ended()
            error = task.error()
        except WeftError as failure:
            error = failure
        return AgentOutcome(agent_id, task, error, called)

    waiting = list(reversed(agent_ids))
    running: set[asyncio.Task[AgentOutcome[Resp]]] = set()
    try:
        while waiting or running:
            while waiting and len(running) < CONCURRENCY:
                running.add(asyncio.create_task(call(waiting.pop())))
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                running.discard(each)
                yield each.result()
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
