"""The servicer of `AssignerService`.

a call ─► what the mesh tells (`observations`) ─► rules ─► the answer, with its reasons ─► tasks, if they are to be submitted
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio

from weft.agent import current_task
from weft.client import Mesh, Task, TaskState
from weft.client.options import SubmitOptions
from weft.rpc.contracts.contract_reader import ContractReader
from weft.rpc.errors import InvalidArgument, NotFound
from weft.rpc.times import duration
from weft.services.assigner import forecast_rules as rules
from weft.services.assigner.observations import MethodFacts, facts_of, others_queued, slots_of
from weft.services.assigner.settings import AssignerSettings
from weft.services.assigner.v1 import assigner_pb2, assigner_pb2_grpc

DEFAULT_PRIORITY = 5
# The longest time that is told: a queue that takes longer takes "a month or more".
MOST_S = 31 * 86_400.0
# The shortest time that a submitted task is given.
LEAST_LIMIT_S = 0.001
Context = grpc.aio.ServicerContext[Any, Any]


class ItemError(ValueError):
    """A task of a batch cannot be submitted."""


class AssignerService(assigner_pb2_grpc.AssignerServiceServicer):
    """Forecasts by what the mesh tells, and keeps nothing."""

    def __init__(self, settings: AssignerSettings) -> None:
        self._settings = settings

    async def PredictStart(
        self, request: assigner_pb2.PredictStartRequest, context: Context
    ) -> assigner_pb2.PredictStartResponse:
        priority = request.priority if request.HasField("priority") else DEFAULT_PRIORITY
        mesh = current_task().mesh
        facts = await facts_of(mesh, request.method, self._settings.sample_tasks)
        found = await self._forecast(mesh, facts, request.labels, request.resources, priority)
        if found is None:
            await _abort(context, grpc.StatusCode.NOT_FOUND, _nobody(request.method, facts))
        return assigner_pb2.PredictStartResponse(forecast=found)

    async def Assign(
        self, request: assigner_pb2.AssignRequest, context: Context
    ) -> assigner_pb2.AssignResponse:
        if len({each.name for each in request.items}) < len(request.items):
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "items: each has a name of its own")
        mesh = current_task().mesh
        try:
            payloads = await _payloads(mesh, request.items) if request.submit else {}
        except ItemError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        methods = sorted({each.method for each in request.items})
        facts = {each: await facts_of(mesh, each, self._settings.sample_tasks) for each in methods}
        now_s = time.time()
        work = [self._work(each, facts[each.method], now_s) for each in request.items]
        places = rules.assign(work, self._slots(facts))
        items = {each.name: each for each in request.items}
        answer = assigner_pb2.AssignResponse(
            assignments=[_told(each, items[each.name], facts[items[each.name].method]) for each in places]
        )
        ends = [each.end_s for each in places if each.agent_id]
        answer.done_after.CopyFrom(_bounded(max(ends, default=0.0)))
        if request.submit:
            batch_id = request.batch_id or current_task().id
            submitting = _submit(mesh, request, batch_id, answer.assignments, payloads)
            # In a context of its own: the tasks are not children of this call, and do not end with its deadline.
            await asyncio.create_task(submitting, context=contextvars.Context())
        return answer

    async def Explain(
        self, request: assigner_pb2.ExplainRequest, context: Context
    ) -> assigner_pb2.ExplainResponse:
        mesh = current_task().mesh
        try:
            task = await mesh.tasks.get(request.task_id)
        except NotFound as error:
            await _abort(context, grpc.StatusCode.NOT_FOUND, error.message)
        answer = assigner_pb2.ExplainResponse(
            state=task.state.name, method=task.method, waits_for=task.waits_for, reasons=_history(task)
        )
        if task.state in (TaskState.QUEUED, TaskState.SCHEDULED):
            facts = await facts_of(mesh, task.method, self._settings.sample_tasks)
            options = task.proto.options
            needed = {**options.requirements.resources, **options.consumes}
            # Itself is among the queued ones.
            itself = int(task.state is TaskState.QUEUED)
            found = await self._forecast(
                mesh, facts, options.requirements.labels, needed, task.priority, itself
            )
            if found is not None:
                answer.forecast.CopyFrom(found)
        return answer

    async def _forecast(
        self,
        mesh: Mesh,
        facts: MethodFacts,
        labels: Mapping[str, str],
        resources: Mapping[str, float],
        priority: int,
        itself: int = 0,
    ) -> assigner_pb2.Forecast | None:
        """The forecast of a task; None: no agent that is there can run it."""
        servers = facts.servers(labels, resources, self._settings.unknown_run_s)
        if not servers:
            return None
        unknown_s = self._settings.unknown_run_s
        run = facts.run or rules.RunTimes(unknown_s / 10, unknown_s, unknown_s * 10)
        ahead, others = max(0, facts.queued - itself), await others_queued(mesh, facts.method, servers)
        first = priority > DEFAULT_PRIORITY
        found = rules.forecast(servers, run, ahead, others, first=first)
        made = assigner_pb2.Forecast(
            earliest=_bounded(found.earliest_s),
            likely=_bounded(found.likely_s),
            latest=_bounded(found.latest_s),
            queued=facts.queued,
            slots=sum(each.slots for each in servers),
            free_slots=sum(max(0, each.slots - each.used_slots) for each in servers),
            reasons=_reasons(facts, servers, ahead, others, first=first),
        )
        if facts.run is not None:
            made.run_time.CopyFrom(_bounded(facts.run.mean_s))
        return made

    def _work(self, item: assigner_pb2.WorkItem, facts: MethodFacts, now_s: float) -> rules.PlannedWork:
        servers = facts.servers(item.labels, item.resources, self._settings.unknown_run_s)
        own_s = item.run_time.ToTimedelta().total_seconds() if item.HasField("run_time") else 0.0
        deadline_s = math.inf
        if item.HasField("deadline"):
            deadline_s = item.deadline.seconds + item.deadline.nanos / 1e9 - now_s
        return rules.PlannedWork(
            item.name,
            {each.agent_id: own_s or each.mean_s for each in servers},
            {each.agent_id: each.cost for each in servers},
            item.priority if item.HasField("priority") else DEFAULT_PRIORITY,
            deadline_s,
        )

    def _slots(self, facts: Mapping[str, MethodFacts]) -> dict[str, rules.FreeTimes]:
        """The slots of all agents; before the batch, they run what is queued already."""
        agents = {agent.id: agent for each in facts.values() for agent in each.agents}
        left_s: dict[str, float] = {}
        for each in facts.values():
            for server in each.servers({}, {}, self._settings.unknown_run_s):
                left_s[server.agent_id] = max(left_s.get(server.agent_id, 0.0), server.mean_s / 2)
        slots = slots_of(agents, left_s)
        for each in facts.values():
            servers = each.servers({}, {}, self._settings.unknown_run_s)
            queued = [
                rules.PlannedWork(
                    str(number),
                    {server.agent_id: server.mean_s for server in servers},
                    {server.agent_id: server.cost for server in servers},
                )
                for number in range(min(each.queued, rules.MAX_PLACED // 5))
            ]
            rules.assign(queued, slots)
        return slots


async def _payloads(mesh: Mesh, items: Sequence[assigner_pb2.WorkItem]) -> dict[str, bytes]:
    """The serialized requests, by name.

    Raises:
        ItemError: one does not fit its method, or there is no such method.
    """
    reader, found = ContractReader(mesh.channel()), dict[str, bytes]()
    for each in items:
        if each.WhichOneof("request") == "json":
            try:
                found[each.name] = (await reader.resolve(each.method)).request_from_json(each.json)
            except (InvalidArgument, NotFound) as error:
                raise ItemError(f"{each.name}: {error.message}") from error
        else:
            found[each.name] = each.payload
    return found


async def _submit(
    mesh: Mesh,
    request: assigner_pb2.AssignRequest,
    batch_id: str,
    assignments: Sequence[assigner_pb2.Assignment],
    payloads: Mapping[str, bytes],
) -> None:
    """Submit what has a place, in the order of the starts."""
    items, now_s = {each.name: each for each in request.items}, time.time()
    for place in assignments:
        item = items[place.name]
        if not place.agent_id:
            continue
        options = SubmitOptions(
            priority=item.priority if item.HasField("priority") else DEFAULT_PRIORITY,
            require_labels=dict(item.labels),
            require_resources=dict(item.resources),
        )
        if item.HasField("deadline"):
            left_s = item.deadline.seconds + item.deadline.nanos / 1e9 - now_s
            options["schedule_to_close_s"] = max(LEAST_LIMIT_S, left_s)
        if request.pin:
            options["agent_id"] = place.agent_id
        handle = await mesh.tasks.submit(
            item.method, payloads[item.name], request_id=f"assign:{batch_id}:{item.name}", **options
        )
        place.task_id = handle.id


def _told(
    place: rules.PlannedPlace, item: assigner_pb2.WorkItem, facts: MethodFacts
) -> assigner_pb2.Assignment:
    if not place.agent_id:
        return assigner_pb2.Assignment(name=place.name, reason=_nobody(item.method, facts))
    reason = f"it ends there first, after {place.end_s:.3g} s"
    if math.isfinite(place.next_best_s):
        reason += f"; at the next best agent after {place.next_best_s:.3g} s"
    if place.agent_id not in facts.by_agent and not item.HasField("run_time"):
        known = "of all agents" if facts.run is not None else "assumed"
        reason += f"; its run time is that {known}: too few runs are known there"
    return assigner_pb2.Assignment(
        name=place.name,
        agent_id=place.agent_id,
        start_after=_bounded(place.start_s),
        end_after=_bounded(place.end_s),
        in_time=place.in_time,
        reason=reason,
    )


def _reasons(
    facts: MethodFacts, servers: Sequence[rules.Server], ahead: int, others: int, *, first: bool
) -> list[str]:
    reasons = [
        f"{ahead} queued tasks of {facts.method} are ahead, at {len(servers)} agents with {sum(each.places for each in servers)} places"
    ]
    if facts.run is None:
        reasons.append("nobody has measured its run time: it is assumed")
    elif facts.sampled:
        reasons.append(
            f"its last {facts.sampled} tasks took {facts.run.mean_s:.3g} s on average, and {len(facts.by_agent)} agents have a mean of their own"
        )
    else:
        reasons.append(f"it takes {facts.run.mean_s:.3g} s by the statistics of the last minutes")
    if others:
        reasons.append(f"{others} queued tasks of other methods may need the same slots")
    if first:
        reasons.append("by its priority it is likely to come before them")
    reasons.append("not in it: run limits, locks, turns, amounts in use, and tasks that are submitted later")
    return reasons


def _history(task: Task) -> list[str]:
    found = [
        f"attempt {each.number} at {each.agent_id}" + (f": {each.choice}" if each.choice else "")
        for each in task.attempts
    ]
    if task.limited_by:
        found.append(f"it waits at {task.limited_by}")
    if task.avoid_agent_id:
        found.append(f"the next attempt avoids {task.avoid_agent_id}, where the last one ended")
    return found


def _nobody(method: str, facts: MethodFacts) -> str:
    if not facts.agents:
        return f"no agent that takes work hosts {method}"
    return f"{len(facts.agents)} agents host {method}, none has these labels, resources and slots"


def _bounded(seconds: float) -> Any:
    return duration(min(MOST_S, max(0.0, seconds)))


async def _abort(context: Context, code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message)
    raise AssertionError("abort raises")
