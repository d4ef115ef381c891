"""Reads the state of a mesh as records, in the order in which an import needs them. Reads pages: memory does not grow with the tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from weft.coordinator import codec
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_types import is_own
from weft.coordinator.pools.pool_codec import KIND as POOL
from weft.coordinator.pools.pool_table import pool_of
from weft.coordinator.schedules.schedule_table import ScheduleTable
from weft.coordinator.state import event_copy, keyed_state_copy, pool_copy, step_copy, subscription_copy
from weft.coordinator.state.hook_copy import HookCopies
from weft.coordinator.state.state_kinds import FORMAT, KINDS, StateCounts
from weft.coordinator.steps.step_codec import step
from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.rules import State
from weft.coordinator.store.step_store import PAGE_STEPS, StepRecord
from weft.coordinator.store.table_store import every_row
from weft.coordinator.usage.budget_table import BudgetTable
from weft.rpc.process.version import VERSION
from weft.rpc.times import timestamp
from weft.v1 import fleet_pb2, options_pb2, state_pb2, usage_pb2

# Tasks are listed newest first, and exported oldest first: pages are noted on the way back, and read on the way forth. With their payloads
# both times, which bound a page's size.
_PAGE = 1000
_SCHEDULES = 100
# Tasks whose steps are read at the same time, and calls that are.
_TOGETHER = 100
_UNFINISHED = frozenset({State.SCHEDULED, State.QUEUED})


class _Stretch(NamedTuple):
    """Some tasks, newest first."""

    cursor: str
    oldest_id: str


class StateReader:
    """One export.

    Args:
        budgets: those in force, with what was spent of them.
    """

    def __init__(
        self,
        store: Store,
        contracts: Contracts,
        budgets: Callable[[], Mapping[str, usage_pb2.Budget]],
        hooks: HookCopies,
        request: state_pb2.ExportStateRequest,
    ) -> None:
        self._hooks = hooks
        self._store = store
        self._contracts = contracts
        self._known_budgets = budgets
        asked = set(request.kinds or KINDS.values())
        if not (request.kinds or request.events):
            asked.discard(state_pb2.STATE_KIND_EVENT)
        self._kinds = {field for field, kind in KINDS.items() if kind in asked}
        self._running = request.running
        self._events_left_out = 0
        self._counts = StateCounts()

    async def records(self) -> AsyncGenerator[state_pb2.StateRecord]:
        """All records, from header to end."""
        now = timestamp(self._store.now())
        yield state_pb2.StateRecord(
            header=state_pb2.StateHeader(
                format=FORMAT, time=now, weft_version=VERSION, mesh_id=await event_copy.mesh_id(self._store)
            )
        )
        sources = {
            "contract": self._contract_records,
            "method": self._methods,
            "agent": self._agents,
            "schedule": self._schedules,
            "pool": self._pools,
            "budget": self._budgets,
            "keyed_state": self._keyed_states,
            "hook": self._hook_records,
            "task": self._tasks,
            "event": self._events,
            "subscription": self._subscriptions,
        }
        for field, source in sources.items():
            if field not in self._kinds:
                continue
            async for record in source():
                self._counts.done(record.WhichOneof("record") or field)
                yield record
        left_out = 0
        if "task" in self._kinds and not self._running:
            left_out = sum(depth.running for depth in (await self._store.depths()).values())
        yield state_pb2.StateRecord(
            end=state_pb2.StateEnd(
                counts=self._counts.messages(),
                running_left_out=left_out,
                events_left_out=self._events_left_out,
            )
        )

    async def _contract_records(self) -> AsyncIterator[state_pb2.StateRecord]:
        methods: dict[str, list[str]] = {}
        for info in self._contracts.methods():
            methods.setdefault(info.contract, []).append(info.name)
        for contract in reversed(self._contracts.in_force()):
            yield state_pb2.StateRecord(
                contract=state_pb2.StateContract(
                    file_descriptor_set=contract.file_descriptor_set,
                    methods=sorted(methods.get(contract.digest, ())),
                )
            )

    async def _methods(self) -> AsyncIterator[state_pb2.StateRecord]:
        policies = self._contracts.policies
        # What a budget has paused it resumes: the budget is imported, and pauses them again.
        by_budgets = {name for each in await self._budget_rows() for name in each.paused_methods}
        paused = set(await self._store.paused()) - by_budgets
        overrides: Mapping[str, options_pb2.TaskPolicy] = policies.overrides
        limits: Mapping[str, options_pb2.TaskPolicy] = policies.limits
        for name in sorted(paused | overrides.keys() | limits.keys()):
            limit = limits.get(name)
            yield state_pb2.StateRecord(
                method=state_pb2.StateMethod(
                    name=name,
                    paused=name in paused,
                    override=overrides.get(name),
                    limits=() if limit is None else limit.run_limits,
                )
            )

    async def _agents(self) -> AsyncIterator[state_pb2.StateRecord]:
        for agent_id, record in sorted((await self._store.agents()).items()):
            state = record.desired_state or fleet_pb2.DESIRED_STATE_ACTIVE
            yield state_pb2.StateRecord(
                agent=state_pb2.StateAgent(id=agent_id, desired_state=state)  # type: ignore[arg-type]
            )

    async def _schedules(self) -> AsyncIterator[state_pb2.StateRecord]:
        table, cursor = ScheduleTable(self._store), ""
        while True:
            schedules, cursor = await table.page(_SCHEDULES, cursor)
            for schedule in schedules:
                # Tasks have other ids where they are imported.
                schedule.ClearField("unfinished_task_ids")
                schedule.ClearField("pending_time")
                yield state_pb2.StateRecord(schedule=schedule)
            if not cursor:
                return

    async def _pools(self) -> AsyncIterator[state_pb2.StateRecord]:
        async for row in every_row(self._store, POOL):
            pool = pool_of(row)
            if pool_copy.is_exported(pool):
                yield state_pb2.StateRecord(pool=pool_copy.copy_of(pool))

    async def _budget_rows(self) -> list[usage_pb2.Budget]:
        return await BudgetTable(self._store, self._contracts).all()

    async def _budgets(self) -> AsyncIterator[state_pb2.StateRecord]:
        spent = {name: budget.spent for name, budget in self._known_budgets().items()}
        for budget in await self._budget_rows():
            # The task of another one gets a new id.
            if not budget.root_task_id:
                budget.spent = spent.get(budget.name, 0.0)
                del budget.paused_methods[:]
                yield state_pb2.StateRecord(budget=budget)

    async def _keyed_states(self) -> AsyncIterator[state_pb2.StateRecord]:
        async for state in keyed_state_copy.exported(self._store):
            yield state_pb2.StateRecord(keyed_state=state)

    async def _hook_records(self) -> AsyncIterator[state_pb2.StateRecord]:
        async for hook in self._hooks.exported():
            yield state_pb2.StateRecord(hook=hook)

    async def _events(self) -> AsyncIterator[state_pb2.StateRecord]:
        async for event in event_copy.exported(self._store):
            yield state_pb2.StateRecord(event=event)

    async def _subscriptions(self) -> AsyncIterator[state_pb2.StateRecord]:
        async for subscription, unread in subscription_copy.exported(self._store):
            if "event" not in self._kinds and not is_own(subscription.spec.topic):
                self._events_left_out += unread
            yield state_pb2.StateRecord(subscription=subscription)

    async def _tasks(self) -> AsyncIterator[state_pb2.StateRecord]:
        states = _UNFINISHED | {State.FAILED} | ({State.RUNNING} if self._running else set())
        where = ListFilter(states=frozenset(states))
        calls = await step_copy.calls_of(self._store)
        for stretch in reversed(await self._stretches(where)):
            found: list[TaskRecord] = []
            cursor = stretch.cursor
            while True:
                page = await self._store.list_tasks(where, limit=_PAGE, cursor=cursor, payloads=True)
                kept = [
                    each for each in page.records if each.task_id >= stretch.oldest_id and not each.expired
                ]
                found.extend(kept)
                cursor = page.cursor
                if not cursor or any(each.task_id <= stretch.oldest_id for each in page.records):
                    break
            found.reverse()
            for at in range(0, len(found), _TOGETHER):
                some = found[at : at + _TOGETHER]
                firsts = await asyncio.gather(
                    *(self._store.list_steps(each.task_id, 0, PAGE_STEPS) for each in some)
                )
                for task, first in zip(some, firsts, strict=True):
                    async for record in self._steps(task, first, calls.get(task.task_id, ())):
                        yield record
                    yield _task_record(task)

    async def _steps(
        self, task: TaskRecord, steps: Sequence[StepRecord], calls: Sequence[str]
    ) -> AsyncIterator[state_pb2.StateRecord]:
        """What a task's handler has recorded, and its remembered calls that have succeeded."""
        of_task = partial(state_pb2.StateStep, task_id=task.task_id, request_id=task.submission.request_id)
        while steps:
            yield state_pb2.StateRecord(step=of_task(steps=map(step, steps)))
            steps = await self._store.list_steps(task.task_id, steps[-1].sequence, PAGE_STEPS)
        for at in range(0, len(calls), _TOGETHER):
            for call in await self._store.get(calls[at : at + _TOGETHER]):
                if call is not None and call.state is State.SUCCEEDED and not call.expired:
                    told = state_pb2.StateTask(task=codec.task(call), outcome=call.outcome)
                    told.task.outcome.Clear()
                    yield state_pb2.StateRecord(step=of_task(call=told))

    async def _stretches(self, where: ListFilter) -> list[_Stretch]:
        stretches: list[_Stretch] = []
        cursor = ""
        while True:
            page = await self._store.list_tasks(where, limit=_PAGE, cursor=cursor, payloads=True)
            if page.records:
                stretches.append(_Stretch(cursor, page.records[-1].task_id))
            if not page.cursor:
                return stretches
            cursor = page.cursor


def _task_record(record: TaskRecord) -> state_pb2.StateRecord:
    task = codec.task(record)
    task.outcome.status.ClearField("details")
    failed = record.state is State.FAILED
    return state_pb2.StateRecord(
        task=state_pb2.StateTask(task=task, outcome=record.outcome if failed else b"")
    )
