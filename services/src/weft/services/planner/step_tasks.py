"""The tasks of a run's steps: submitted once each, and waited for.

    path ─► a record of the run has its task? ─► yes: that one
                                               └ no: submitted with the request id step:RUN/PATH ─► recorded, or the refusal is
    the task ─► its end

The record decides: an attempt at the run that is not the current one cannot record, so it cannot take another way than the current one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2

from weft.client import Lock, RetryPolicy, SubmitOptions
from weft.rpc.contracts import descriptors, json_form
from weft.rpc.errors import InvalidArgument, RetryLater, WeftError
from weft.services.planner.mesh_contracts import MeshContracts, message_of
from weft.services.planner.settings import PlannerSettings
from weft.services.planner.v1 import graph_pb2

if TYPE_CHECKING:
    from weft.agent.handlers.current_call import RunningTask
    from weft.client import Task

T = TypeVar("T")

STEP_KEY = "weft-step"
_AGAIN_S = 0.5
# Refusals with these codes are those of an attempt that is over, or of a moment.
_NOT_OF_THE_STEP = frozenset([code_pb2.UNAVAILABLE, code_pb2.CANCELLED])


class NodeFailed(Exception):
    """A node has failed.

    Args:
        code: a number of google.rpc.Code.
        message: why.
        task: the task that has failed; None: there was none.
    """

    def __init__(self, code: int, message: str, task: Task | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.task = task


class StepTasks:
    """The tasks of one attempt at a run."""

    def __init__(self, run: RunningTask, contracts: MeshContracts, settings: PlannerSettings) -> None:
        self._run = run
        self._contracts = contracts
        self._settings = settings
        self._room = asyncio.Semaphore(settings.max_parallel)
        self._count = self._kept_bytes = 0

    async def ended(self, path: str, step: graph_pb2.Step, request: Any) -> tuple[Message, Task]:
        """Run a step. Returns its response, and its task.

        Raises:
            NodeFailed: its request does not fit, it was refused, or it has failed.
        """
        method = self._contracts.find(step.method)
        if method is None:
            raise NodeFailed(code_pb2.UNIMPLEMENTED, f"no agent hosts {step.method} any more")
        request_class = descriptors.message_class(method.input_type)
        try:
            payload = json_form.parse(json.dumps(request), request_class, self._contracts.pool)
        except InvalidArgument as error:
            raise NodeFailed(
                code_pb2.INVALID_ARGUMENT, f"the request of {step.method}: {error.message}"
            ) from None
        self._count += 1
        if self._count > self._settings.max_steps:
            most = f"the run has more than {self._settings.max_steps} tasks (WEFT_PLANNER_MAX_STEPS)"
            raise NodeFailed(code_pb2.RESOURCE_EXHAUSTED, most)
        async with self._room:
            task = await self._task(path, step, payload)
        self._kept_bytes += len(task.response)
        if self._kept_bytes > self._settings.max_output_bytes:
            most = f"the responses of the run have more than {self._settings.max_output_bytes} bytes"
            raise NodeFailed(code_pb2.RESOURCE_EXHAUSTED, f"{most} (WEFT_PLANNER_MAX_OUTPUT_BYTES)", task)
        return message_of(method.output_type, task.response), task

    async def is_cancelled(self) -> bool:
        """Whether the run itself is cancelled."""
        task = await answered(lambda: self._run.mesh.tasks.get(self._run.id))
        return task.cancel_requested or task.ended

    async def _task(self, path: str, step: graph_pb2.Step, payload: bytes) -> Task:
        async def submit() -> dict[str, Any]:
            return await answered(lambda: self._submitted(path, step, payload))

        recorded: dict[str, Any] = await self._run.step(f"submit/{path}", submit)
        if "code" in recorded:
            raise NodeFailed(int(recorded["code"]), recorded["message"])
        handle = self._run.mesh.tasks.handle(step.method, recorded["task_id"])
        # By this the run knows that it waits for a remembered call, and can give its slot back.
        handle.request_id = recorded["request_id"]
        task = await answered(handle.ended)
        if (error := task.error()) is not None:
            raise NodeFailed(error.code.value[0], error.message, task)
        return task

    async def _submitted(self, path: str, step: graph_pb2.Step, payload: bytes) -> dict[str, Any]:
        options = submit_options(step.options)
        options["metadata"] = [(STEP_KEY, path)]
        try:
            handle = await self._run.mesh.tasks.submit(step.method, payload, **options)
        except RetryLater:
            raise
        except WeftError as error:
            code = error.code.value[0]
            if code in _NOT_OF_THE_STEP:
                raise
            return {"code": code, "message": f"{step.method} was refused: {error.message}"}
        return {"task_id": handle.id, "request_id": handle.request_id}


def submit_options(options: graph_pb2.StepOptions) -> SubmitOptions:
    """The options of a step as those of a submission."""
    found: SubmitOptions = {}
    if options.HasField("priority"):
        found["priority"] = options.priority
    retry: dict[str, Any] = {}
    if options.HasField("max_attempts"):
        retry["max_attempts"] = options.max_attempts
    if options.retryable_codes:
        retry["retryable_codes"] = tuple(code_of(each) for each in options.retryable_codes)
    if retry:
        found["retry"] = RetryPolicy(**retry)
    if options.HasField("start_to_close"):
        found["start_to_close_s"] = options.start_to_close.ToTimedelta().total_seconds()
    if options.HasField("schedule_to_close"):
        found["schedule_to_close_s"] = options.schedule_to_close.ToTimedelta().total_seconds()
    if options.labels:
        found["require_labels"] = dict(options.labels)
    if options.resources:
        found["require_resources"] = dict(options.resources)
    if options.locks:
        found["locks"] = [Lock(each) for each in options.locks]
    return found


def code_of(number: int) -> grpc.StatusCode:
    """The code of gRPC with a number."""
    return next(each for each in grpc.StatusCode if each.value[0] == number)


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until a coordinator answers. The end of the attempt ends it: nothing of the run can go on without an answer."""
    while True:
        try:
            return await ask()
        except RetryLater:
            # The client has tried for its own time already.
            await asyncio.sleep(_AGAIN_S)
