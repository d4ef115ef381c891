"""Follows one task: its states and its responses. After a lost stream it resumes after the last response seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc.aio

from weft.client.api import WATCH_TASK, Api, Patience
from weft.client.task_snapshot import Progress, Task
from weft.rpc import refusals
from weft.v1 import coordinator_pb2


async def watch(
    api: Api, task_id: str, after_sequence: int, *, patience_s: float
) -> AsyncGenerator[Task | Progress]:
    """Give snapshots and progress until the task has ended; each progress event once, in order.

    Raises:
        NotFound: no task has this id.
        Unreachable: the coordinator was away for longer than `patience_s`.
    """
    patience = Patience(api, patience_s)
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
                        yield Progress(task_id, event.sequence, event.attempt, event.payload)
                elif response.HasField("task"):
                    task = Task(response.task)
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
