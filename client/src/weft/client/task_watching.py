"""Follows one task: its states and its responses. After a lost stream it resumes after the last response seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import grpc.aio

from weft.client.api import GET_TASK, WATCH_TASK, Api, Patience
from weft.client.task_snapshot import Progress, Task
from weft.rpc import refusals
from weft.v1 import coordinator_pb2

if TYPE_CHECKING:
    from weft.rpc.payloads.payload_coder import PayloadCoder


async def _decoded(coder: PayloadCoder, payload: bytes, methods: set[str]) -> bytes:
    from weft.client.coded_tasks import decode_response

    return await decode_response(coder, payload, methods)


async def _methods(api: Api, task_id: str) -> set[str]:
    task = (await api.call(GET_TASK, coordinator_pb2.GetTaskRequest(task_id=task_id))).task
    return {task.method, task.fallback_of}


async def watch(
    api: Api, task_id: str, after_sequence: int, *, patience_s: float
) -> AsyncGenerator[Task | Progress]:
    """Give snapshots and progress until the task has ended; each progress event once, in order.

    Raises:
        NotFound: no task has this id.
        Unreachable: the coordinator was away for longer than `patience_s`.
    """
    patience = Patience(api, patience_s)
    # A fallback's responses are its own.
    methods: set[str] = set()
    while True:
        request = coordinator_pb2.WatchTaskRequest(task_id=task_id, after_sequence=after_sequence)
        call = api.open(WATCH_TASK, request)
        try:
            async for response in call:
                patience.renew()
                if response.HasField("progress"):
                    event = response.progress
                    if event.sequence > after_sequence:
                        after_sequence = event.sequence
                        payload = event.payload
                        if api.coder is not None:
                            if not methods:
                                # Responses may come before the first snapshot.
                                methods = await _methods(api, task_id)
                            payload = await _decoded(api.coder, payload, methods)
                        yield Progress(task_id, event.sequence, event.attempt, payload)
                elif response.HasField("task"):
                    task = await api.task(response.task)
                    methods |= {task.method, task.fallback_of}
                    yield task
                    if task.ended:
                        return
            await patience.wait_after(
                refusals.unreachable(f"the stream of task {task_id} ended before the task did")
            )
        except asyncio.CancelledError:
            api.home.check_cut_off()
            raise
        except grpc.aio.AioRpcError as error:
            await patience.wait(error)
        finally:
            call.cancel()
