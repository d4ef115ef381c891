"""Completion at Tab: methods, agent ids, task ids, schedules, groups, pools, topics and states, from the coordinator.

The shell waits for the completion, so it has a time limit. An error or an unreachable coordinator gives no completion and no
message.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING

import typer

from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.client import Mesh

# For all requests together. Starting the command takes as long again.
LIMIT_S = 1.0
_MOST_TASKS = 50


def methods(ctx: typer.Context, incomplete: str) -> list[str]:
    """Full method names; names without the package if the user began one of these."""

    async def known(mesh: Mesh) -> Collection[str]:
        return {queue.method for queue in await mesh.fleet.queues()}

    found = _asked(ctx, known)
    return _beginning(found, incomplete) or _beginning(set(map(names.short, found)), incomplete)


def agent_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of all known agents."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [agent.id for agent in await mesh.fleet.agents()]

    return _beginning(_asked(ctx, known), incomplete)


def task_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the newest tasks."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [task.id async for task in mesh.tasks.list(limit=_MOST_TASKS)]

    return _beginning(_asked(ctx, known), incomplete)


def schedules(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of schedules."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [schedule.name async for schedule in mesh.schedules.list()]

    return _beginning(_asked(ctx, known), incomplete)


def groups(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of groups."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [group.name async for group in mesh.groups.list()]

    return _beginning(_asked(ctx, known), incomplete)


def topics(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of topics that have had events."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [topic.name async for topic in mesh.events.topics()]

    return _beginning(_asked(ctx, known), incomplete)


def pools(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of pools."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [pool.name async for pool in mesh.pools.list()]

    return _beginning(_asked(ctx, known), incomplete)


def subscriptions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of subscriptions."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [each.name async for each in mesh.subscriptions.list()]

    return _beginning(_asked(ctx, known), incomplete)


def hooks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of hooks."""

    async def known(mesh: Mesh) -> Collection[str]:
        return [each.name async for each in mesh.hooks.list()]

    return _beginning(_asked(ctx, known), incomplete)


def states(incomplete: str) -> list[str]:
    """Names of task states."""
    from weft.client import TaskState

    return _beginning(TaskState.__members__, incomplete)


def _beginning(found: Iterable[str], incomplete: str) -> list[str]:
    return sorted(each for each in found if each.startswith(incomplete))


def _asked(ctx: typer.Context, ask: Callable[[Mesh], Awaitable[Collection[str]]]) -> Collection[str]:
    """Ask the coordinator, within the time limit. Returns nothing if that fails."""
    from weft.cli.command_line.shared_options import DEFAULT_TARGET
    from weft.client import connect

    target = (ctx.params or {}).get("target") or os.environ.get("WEFT_TARGET") or DEFAULT_TARGET

    async def answered() -> Collection[str]:
        async with asyncio.timeout(LIMIT_S), connect(target) as mesh:
            await mesh.ready(LIMIT_S)
            # The shell inserts them into the user's command line.
            return [each for each in await ask(mesh) if each.isprintable() and " " not in each]

    with contextlib.suppress(Exception):
        return asyncio.run(answered())
    return ()
