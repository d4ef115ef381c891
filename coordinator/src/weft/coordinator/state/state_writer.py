"""Takes records of an export into a mesh. What is there already stays as it is."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from google.protobuf.message import DecodeError

from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.fleet.fleet_view import FleetView
from weft.coordinator.policy.policy_rows import PolicyRows
from weft.coordinator.policy.run_limit_sync import RunLimitSync
from weft.coordinator.pools.pool_creation import PoolCreation
from weft.coordinator.schedules.schedule_codec import tick_request
from weft.coordinator.schedules.schedule_table import ScheduleTable
from weft.coordinator.sessions.contract_admission import ContractAdmission
from weft.coordinator.state import keyed_state_copy, pool_copy
from weft.coordinator.state.event_copy import EventImport
from weft.coordinator.state.hook_copy import HookCopies
from weft.coordinator.state.schedule_copy import copy_of
from weft.coordinator.state.state_kinds import FORMAT, KINDS, UNKNOWN, StateCounts, name_of
from weft.coordinator.state.step_copy import StepImport
from weft.coordinator.state.subscription_copy import SubscriptionImport, set_maker
from weft.coordinator.state.task_copy import request_of
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import MAX_AGENT_ID, State
from weft.coordinator.usage.budget_rules import checked
from weft.coordinator.usage.usage_keeper import UsageKeeper
from weft.rpc import refusals
from weft.rpc.errors import NotFound, Unavailable, WeftError
from weft.rpc.times import seconds
from weft.v1 import event_pb2, fleet_pb2, options_pb2, security_pb2, state_pb2, task_pb2

MAX_PROBLEMS = 100
_NEWER = (
    "this coordinator does not know records of this kind: a newer weft has made them; import with that version, or leave them out"
    " (weft import --skip-unknown)"
)
# Of the reason of one.
_REASON_CHARS = 1000


class MeshState(NamedTuple):
    """The parts of a mesh that keep its state."""

    store: Store
    contracts: Contracts
    admission: ContractAdmission
    overrides: PolicyRows
    limits: PolicyRows
    run_limits: RunLimitSync
    fleet: FleetView
    submissions: SubmissionService


class StateMakers(NamedTuple):
    """What makes things of a mesh.

    Attributes:
        pools: makes pools.
        usage: keeps budgets.
        hooks: exports and imports hooks.
    """

    pools: PoolCreation
    usage: UsageKeeper
    hooks: HookCopies


class StateWriter:
    """One import. Its records come in the order of an export: tasks and schedules need their contracts, subscriptions their events.
    Large because it has a method for each kind of record.

    Args:
        maker: who imports. None: the coordinator does not ask who calls.
    """

    def __init__(
        self,
        mesh: MeshState,
        makers: StateMakers,
        maker: security_pb2.Maker | None,
    ) -> None:
        self._mesh, self._maker = mesh, maker
        self._pools, self._usage, self._hooks = makers
        self._events = EventImport(mesh.store, EventTypes(mesh.contracts), self._told)
        self._subscriptions = SubscriptionImport(mesh.store, mesh.contracts, self._events, maker)
        self._schedules = ScheduleTable(mesh.store)
        self._steps = StepImport(mesh.store)
        self._counts = StateCounts()
        self._problems: list[state_pb2.StateProblem] = []
        self._begun = False
        # Contracts that were refused at first: one may need another one, which comes later.
        self._refused: list[tuple[state_pb2.StateRecord, WeftError]] = []
        self._takers: dict[str, Callable[[state_pb2.StateRecord], Awaitable[bool]]] = {
            "contract": self._take_contract,
            "method": self._take_method,
            "agent": self._take_agent,
            "schedule": self._take_schedule,
            "pool": self._take_pool,
            "budget": self._take_budget,
            "keyed_state": self._take_keyed_state,
            "hook": self._take_hook,
            "step": self._take_step,
            "subscription": self._take_subscription,
        }

    async def take(self, records: Sequence[state_pb2.StateRecord]) -> None:
        """Take some records in.

        Raises:
            InvalidArgument: the first one is no header of a known format.
            Unavailable: the store cannot be written, or the coordinator is stopping.
        """
        for kind, group in groupby(records, lambda record: record.WhichOneof("record")):
            some = list(group)
            if not self._begun:
                _check_header(some[0])
                self._events.begin(some[0].header)
                self._begun = True
            elif kind == "task":
                await self._settle_contracts()
                await self._take_tasks(some)
            elif kind == "event":
                await self._settle_contracts()
                await self._events.take([record.event for record in some])
            elif kind in KINDS:
                for record in some:
                    await self._take(kind, record)
            elif kind is None:
                for record in some:
                    self._refuse(UNKNOWN, record, refusals.invalid_field(_NEWER, field="records"))

    async def finish(self) -> state_pb2.ImportStateResponse:
        """What was imported. Limits hold when this returns."""
        await self._settle_contracts()
        await self._mesh.run_limits.settle()
        return state_pb2.ImportStateResponse(counts=self._counts.messages(), problems=self._problems)

    async def _take(self, kind: str, record: state_pb2.StateRecord) -> None:
        if kind != "contract":
            await self._settle_contracts()
        try:
            self._count(kind, new=await self._takers[kind](record))
        except Unavailable:
            raise
        except WeftError as error:
            if kind == "contract":
                self._refused.append((record, error))
            else:
                self._refuse(kind, record, error)

    async def _settle_contracts(self) -> None:
        """Try those again that were refused, until none of them is taken any more."""
        while waiting := self._refused:
            self._refused = []
            for record, _ in waiting:
                await self._take("contract", record)
            if len(self._refused) == len(waiting):
                refused, self._refused = self._refused, []
                for record, error in refused:
                    self._refuse("contract", record, error)

    # -- each kind: true if it was not there yet --------------------------------------------------------------------

    async def _take_contract(self, record: state_pb2.StateRecord) -> bool:
        given = record.contract
        return bool(await self._mesh.admission.admit_imported(given.file_descriptor_set, given.methods))

    async def _take_method(self, record: state_pb2.StateRecord) -> bool:
        given, mesh = record.method, self._mesh
        mesh.contracts.method(given.name)
        new = False
        if given.paused and given.name not in await mesh.store.paused():
            await mesh.store.set_paused(given.name, paused=True)
            new = True
        limits = options_pb2.TaskPolicy(run_limits=given.limits)
        for rows, policy in ((mesh.overrides, given.override), (mesh.limits, limits)):
            (row,) = await mesh.store.get_rows(rows.kind, [given.name])
            if row is None and policy.ByteSize():

                def edit(stored: options_pb2.TaskPolicy, wanted: options_pb2.TaskPolicy = policy) -> None:
                    mesh.contracts.policies.check_override(given.name, wanted)
                    stored.CopyFrom(wanted)

                await rows.change(given.name, edit)
                new = True
        return new

    async def _take_agent(self, record: state_pb2.StateRecord) -> bool:
        given = record.agent
        if not 0 < len(given.id) <= MAX_AGENT_ID:
            raise refusals.invalid_field(
                f"an agent's id has 1 to {MAX_AGENT_ID} characters", field="agent.id"
            )
        if given.desired_state == fleet_pb2.DESIRED_STATE_ACTIVE:
            return False
        known = (await self._mesh.store.agents()).get(given.id)
        if known is not None and known.desired_state == given.desired_state:
            return False
        await self._mesh.fleet.update(given.id, given.desired_state)
        return True

    async def _take_schedule(self, record: state_pb2.StateRecord) -> bool:
        schedule = copy_of(record.schedule)
        at = seconds(schedule.create_time)
        set_maker(schedule.maker, self._maker)
        self._mesh.submissions.check(tick_request(schedule, at), own_id=True)
        known = await self._schedules.create(schedule)
        if known is not None and known.uid != schedule.uid:
            raise refusals.schedule_exists(schedule.name)
        return known is None

    async def _take_pool(self, record: state_pb2.StateRecord) -> bool:
        by = "" if self._maker is None else self._maker.subject
        _, existed = await self._pools.store(pool_copy.copy_of(record.pool), by)
        return not existed

    async def _take_budget(self, record: state_pb2.StateRecord) -> bool:
        given = record.budget
        budget = checked(given)
        if budget.root_task_id:
            raise refusals.invalid_field("the budget of a root task is not imported", field="budget")
        if not 0 <= given.spent < math.inf:
            raise refusals.invalid_field("spent must be 0 or more", field="budget.spent")
        return await self._usage.import_budget(budget, given.spent)

    async def _take_keyed_state(self, record: state_pb2.StateRecord) -> bool:
        return await keyed_state_copy.take(self._mesh.store, record.keyed_state)

    async def _take_hook(self, record: state_pb2.StateRecord) -> bool:
        return await self._hooks.take(record.hook, self._maker)

    async def _take_subscription(self, record: state_pb2.StateRecord) -> bool:
        return await self._subscriptions.take(record.subscription)

    async def _take_step(self, record: state_pb2.StateRecord) -> bool:
        given = record.step
        moved = await self._steps.begin(given)
        if not given.HasField("call"):
            return self._steps.add(moved, given.steps)
        if moved.existed:
            return False
        call = self._submission(given.call.task, succeeded=True)
        call.ended = State.SUCCEEDED, given.call.outcome
        (result,) = await self._mesh.submissions.store([call])
        return not accepted(result, call.request_id).existed

    def _submission(self, task: task_pb2.Task, *, succeeded: bool = False) -> Submission:
        request = request_of(self._steps.renamed(task), self._mesh.store.now(), succeeded=succeeded)
        return self._mesh.submissions.check(request, own_id=True)

    async def _take_tasks(self, records: Iterable[state_pb2.StateRecord]) -> None:
        checked: list[tuple[state_pb2.StateRecord, Submission]] = []
        ids: set[str] = set()
        for record in records:
            task = record.task.task
            if task.options.context.parent_id in ids:
                # Its parent's id here is known when that is stored.
                await self._store_tasks(checked)
                checked, ids = [], set()
            try:
                given = self._submission(task)
            except WeftError as error:
                self._steps.forget(task.id)
                self._refuse("task", record, error)
                continue
            self._steps.complete(task, given)
            if task.state == task_pb2.TASK_STATE_FAILED:
                given.ended = State.FAILED, _outcome(record.task)
            checked.append((record, given))
            ids.add(task.id)
        await self._store_tasks(checked)

    async def _store_tasks(self, checked: Sequence[tuple[state_pb2.StateRecord, Submission]]) -> None:
        if not checked:
            return
        results = await self._mesh.submissions.store([each for _, each in checked])
        for (record, given), result in zip(checked, results, strict=True):
            try:
                stored = accepted(result, given.request_id)
            except WeftError as error:
                self._refuse("task", record, error)
                continue
            self._count("task", new=not stored.existed)
            self._steps.came(record.task.task, stored.task_id)

    # -- what became of them ------------------------------------------------------------------------------------------

    def _count(self, kind: str, *, new: bool) -> None:
        if new:
            self._counts.done(kind)
        else:
            self._counts.existed(kind)

    def _told(self, event: event_pb2.Event, became: WeftError | bool) -> None:
        if isinstance(became, WeftError):
            self._refuse("event", state_pb2.StateRecord(event=event), became)
        else:
            self._count("event", new=became)

    def _refuse(self, kind: str, record: state_pb2.StateRecord, error: WeftError) -> None:
        count = self._counts.refused(kind)
        # Of an unknown kind the first one says it all.
        if len(self._problems) < MAX_PROBLEMS and (kind != UNKNOWN or count == 1):
            reason = error.message
            if kind == "agent" and isinstance(error, NotFound):
                reason += ": it can be set when the agent has connected"
            self._problems.append(
                state_pb2.StateProblem(
                    kind=KINDS.get(kind, state_pb2.STATE_KIND_UNSPECIFIED),
                    name=name_of(record)[:256],
                    reason=reason[:_REASON_CHARS],
                )
            )


# The outcome of a failed task that has none.
_UNKNOWN = task_pb2.Outcome(
    status=refusals.internal("it failed before it was imported; its outcome was not kept").status()
).SerializeToString()


def _outcome(given: state_pb2.StateTask) -> bytes:
    try:
        outcome = task_pb2.Outcome.FromString(given.outcome)
    except DecodeError:
        outcome = task_pb2.Outcome()
    return given.outcome if outcome.status.code else _UNKNOWN


def _check_header(record: state_pb2.StateRecord) -> None:
    if record.WhichOneof("record") != "header":
        raise refusals.invalid_field("the first record must be the header of an export", field="records")
    if record.header.format != FORMAT:
        raise refusals.invalid_field(
            f"the records have format {record.header.format}; this coordinator knows format {FORMAT}:"
            " import them with the version of weft that exported them, or a newer one",
            field="records",
        )
