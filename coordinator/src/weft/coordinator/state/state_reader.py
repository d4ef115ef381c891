"""Reads the state of a mesh as records, in the order in which an import needs them. Reads pages: memory does not grow with the tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import NamedTuple

from weft.coordinator import codec
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.schedules.schedule_table import ScheduleTable
from weft.coordinator.state.state_kinds import FORMAT, KINDS, StateCounts
from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc.process.version import VERSION
from weft.rpc.times import timestamp
from weft.v1 import fleet_pb2, options_pb2, state_pb2

# Tasks are listed newest first, and exported oldest first: pages are noted on the way back, and read on the way forth. With their payloads
# both times, which bound a page's size.
_PAGE = 1000
_SCHEDULES = 100
_UNFINISHED = frozenset({State.SCHEDULED, State.QUEUED})


class _Stretch(NamedTuple):
    """Some tasks, newest first."""

    cursor: str
    oldest_id: str


class StateReader:
    """One export."""

    def __init__(self, store: Store, contracts: Contracts, request: state_pb2.ExportStateRequest) -> None:
        self._store = store
        self._contracts = contracts
        self._kinds = {field for field, kind in KINDS.items() if not request.kinds or kind in request.kinds}
        self._running = request.running
        self._counts = StateCounts()

    async def records(self) -> AsyncGenerator[state_pb2.StateRecord]:
        """All records, from header to end."""
        now = timestamp(self._store.now())
        yield state_pb2.StateRecord(
            header=state_pb2.StateHeader(format=FORMAT, time=now, weft_version=VERSION)
        )
        sources = {
            "contract": self._contract_records,
            "method": self._methods,
            "agent": self._agents,
            "schedule": self._schedules,
            "task": self._tasks,
        }
        for field, source in sources.items():
            if field not in self._kinds:
                continue
            async for record in source():
                self._counts.done(field)
                yield record
        left_out = 0
        if "task" in self._kinds and not self._running:
            left_out = sum(depth.running for depth in (await self._store.depths()).values())
        yield state_pb2.StateRecord(
            end=state_pb2.StateEnd(counts=self._counts.messages(), running_left_out=left_out)
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
        policies, paused = self._contracts.policies, set(await self._store.paused())
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

    async def _tasks(self) -> AsyncIterator[state_pb2.StateRecord]:
        states = _UNFINISHED | {State.FAILED} | ({State.RUNNING} if self._running else set())
        where = ListFilter(states=frozenset(states))
        for stretch in reversed(await self._stretches(where)):
            found: list[state_pb2.StateRecord] = []
            cursor = stretch.cursor
            while True:
                page = await self._store.list_tasks(where, limit=_PAGE, cursor=cursor, payloads=True)
                kept = [
                    each for each in page.records if each.task_id >= stretch.oldest_id and not each.expired
                ]
                found.extend(map(_task_record, kept))
                cursor = page.cursor
                if not cursor or any(each.task_id <= stretch.oldest_id for each in page.records):
                    break
            for record in reversed(found):
                yield record

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
