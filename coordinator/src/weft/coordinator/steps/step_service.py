"""The servicer of `weft.v1.StepService`."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.identity.task_sight import check_seen
from weft.coordinator.request_checks import check_resource_name
from weft.coordinator.steps.remembered_calls import check_step_name
from weft.coordinator.steps.step_codec import kind_of, step
from weft.coordinator.store.base import Store
from weft.coordinator.store.step_store import (
    MAX_VALUE_BYTES,
    PAGE_STEPS,
    SIGNALS,
    AttemptFence,
    NewSignal,
    NewStep,
    RecordKind,
    StepAnswer,
    StepRefusal,
)
from weft.coordinator.store.task_ids import is_fresh
from weft.rpc import refusals
from weft.rpc.identity.edge import Edge
from weft.rpc.times import checked_duration, duration, timestamp
from weft.v1 import step_pb2, step_pb2_grpc

Context = aio.ServicerContext[Any, Any]

_TIMED = frozenset({RecordKind.SLEEP, RecordKind.WAIT})


class StepService(step_pb2_grpc.StepServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, store: Store, edge: Edge) -> None:
        self._store = store
        self._edge = edge

    @guard.unary
    async def RecordStep(
        self, request: step_pb2.RecordStepRequest, context: Context
    ) -> step_pb2.RecordStepResponse:
        asked = _checked(request)
        await self._check_seen(context, request.task_id)
        fence = AttemptFence(request.task_id, request.attempt, request.agent_id)
        found = await self._store.record_step(fence, asked)
        if not isinstance(found, StepAnswer):
            await self._refuse(found, request.task_id)
            raise refusals.attempt_over(request.task_id[:64], request.attempt)
        if found.step.kind is not asked.kind:
            raise refusals.step_changed(
                asked.name,
                f"is recorded as a {_WORDS[found.step.kind]}, and the handler asks for a {_WORDS[asked.kind]}",
            )
        answer = step_pb2.RecordStepResponse(step=step(found.step), existed=found.existed)
        if found.step.wake_at is not None:
            answer.time_left.CopyFrom(duration(found.step.wake_at - self._store.now()))
        return answer

    @guard.unary
    async def ListSteps(
        self, request: step_pb2.ListStepsRequest, context: Context
    ) -> step_pb2.ListStepsResponse:
        await self._check_seen(context, request.task_id)
        after = min(request.after_sequence, 2**53)
        found = await self._store.list_steps(request.task_id, after, PAGE_STEPS)
        if not found and not after:
            await self._check_known(request.task_id)
        more = bool(found) and bool(await self._store.list_steps(request.task_id, found[-1].sequence, 1))
        return step_pb2.ListStepsResponse(
            steps=[step(each, values=not request.no_values) for each in found],
            more=more,
            time=timestamp(self._store.now()),
        )

    @guard.unary
    async def SendSignal(
        self, request: step_pb2.SendSignalRequest, context: Context
    ) -> step_pb2.SendSignalResponse:
        check_resource_name(request.name)
        _check_value(request.value)
        if request.id:
            check_step_name(request.id, "id")
        await self._check_seen(context, request.task_id)
        found = await self._store.send_signal(
            request.task_id, NewSignal(request.name, request.value, request.id)
        )
        if not isinstance(found, StepAnswer):
            await self._refuse(found, request.task_id)
            raise refusals.task_state("the task has ended, and takes no more signals", state="ended")
        return step_pb2.SendSignalResponse(step=step(found.step), existed=found.existed)

    async def _refuse(self, refusal: StepRefusal, task_id: str) -> None:
        """
        Raises:
            ResourceExhausted: STEP_LIMIT.
            NotFound: TASK_NOT_FOUND.
        """
        if refusal is StepRefusal.LIMIT:
            raise refusals.step_limit(task_id)
        await self._check_known(task_id)

    async def _check_known(self, task_id: str) -> None:
        # Nobody waits for what cannot come any more.
        for wait_s in _WAITS_S if is_fresh(task_id, self._store.now()) else (0.0,):
            if (await self._store.get([task_id], payloads=False))[0] is not None:
                return
            await asyncio.sleep(wait_s)
        raise refusals.task_not_found(task_id)

    async def _check_seen(self, context: Context, task_id: str) -> None:
        await check_seen(self._store, self._edge.caller(context), [task_id])


# A short call runs before its task is stored, which takes some 10 ms more.
_WAITS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.0)
_WORDS = {
    RecordKind.VALUE: "local step",
    RecordKind.SLEEP: "sleep",
    RecordKind.WAIT: "wait for a signal",
    RecordKind.TIMEOUT: "wait that has timed out",
    RecordKind.SIGNAL: "signal",
}


def _checked(request: step_pb2.RecordStepRequest) -> NewStep:
    """A step that may be recorded.

    Raises:
        InvalidArgument
    """
    check_step_name(request.name, "name")
    kind = kind_of(request.kind)
    if kind is None or kind is RecordKind.SIGNAL:
        raise refusals.invalid_field(
            f"kind is {request.kind}; it must be that of a local step, a sleep, a wait or a timeout",
            field="kind",
        )
    if request.name.startswith(SIGNALS):
        raise refusals.invalid_field(
            f"name must not begin with {SIGNALS}: signals have such names", field="name"
        )
    _check_value(request.value)
    delay_s = None
    if request.HasField("delay"):
        delay_s = checked_duration(request.delay, "delay")
    if (delay_s is not None and kind not in _TIMED) or (delay_s is None and kind is RecordKind.SLEEP):
        raise refusals.invalid_field(
            "a sleep has a delay, a wait may have one, and nothing else has", field="delay"
        )
    return NewStep(request.name, kind, request.value, delay_s)


def _check_value(value: bytes) -> None:
    if len(value) > MAX_VALUE_BYTES:
        raise refusals.invalid_field(
            f"value is {len(value)} bytes; the most are {MAX_VALUE_BYTES}: put it elsewhere, and record where it is",
            field="value",
        )
