"""Callers of a method with a cache, and their verdict: they get the result of an equal request, not too old, and no equal request
runs again within the time to live."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import grpc
import grpc.aio

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.chaos.harness.asking import all_tasks, passing
from tests.chaos.harness.chain import CACHE_S, CACHED
from tests.chaos.harness.items import Shape
from tests.chaos.harness.load import Door
from weft.rpc.times import seconds
from weft.v1 import coordinator_pb2, task_pb2

_CALL_S = 60.0
_AGAIN_S = 0.02
_TEXTS = 5
_SLEEPS_S = (0.0, 0.02, 0.1)
# The driver and Redis are on one machine, and read its clock within this.
_APART_S = 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got."""

    text: str
    task_id: str
    asked_at_s: float
    stored: bool


class Sharing:
    """Calls of few different requests until `stop`; afterwards, the verdict on them."""

    def __init__(self, door: Door, rng: random.Random, shape: Shape, ledger_path: str) -> None:
        self.answers: list[Answer] = []
        self._problems: list[str] = []
        self._door = door
        self._rng = rng
        self._shape = shape
        run = f"c{rng.getrandbits(32):08x}"
        self._requests = [
            ProbeRequest(text=f"{run}-{n}", ledger=ledger_path, sleep_s=rng.choice(_SLEEPS_S))
            for n in range(_TEXTS)
        ]
        self._stopped = False

    @property
    def stored(self) -> int:
        """How many answers were stored results."""
        return sum(answer.stored for answer in self.answers)

    def stop(self) -> None:
        self._stopped = True

    async def run(self) -> None:
        """Call until `stop`. Some callers go away at once: the others must not notice."""
        async with asyncio.TaskGroup() as callers:
            for number in range(self._shape.sharers):
                callers.create_task(self._call_on(hasty=number == 0))

    async def _call_on(self, *, hasty: bool) -> None:
        while not self._stopped:
            request = self._rng.choice(self._requests)
            timeout_s = self._rng.uniform(0.001, 0.05) if hasty else _CALL_S
            asked_at_s = time.time()
            call = self._door.channel().unary_unary(
                f"/{CACHED}",
                request_serializer=ProbeRequest.SerializeToString,
                response_deserializer=ProbeReply.FromString,
            )(request, timeout=timeout_s, wait_for_ready=True)
            try:
                reply = await call
            except grpc.aio.AioRpcError as error:
                left = hasty and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                if not left and not passing(error):
                    self._problems.append(f"{request.text} was answered {error.code()}: {error.details()}")
                await asyncio.sleep(_AGAIN_S)
                continue
            trailers = {str(key): value for key, value in await call.trailing_metadata()}
            if reply.text != request.text:
                self._problems.append(f"{request.text} was answered with {reply.text}")
            stored = trailers.get("weft-cached") == "true"
            self.answers.append(Answer(request.text, str(trailers["weft-task-id"]), asked_at_s, stored))
            await asyncio.sleep(_AGAIN_S)

    async def faults(self) -> list[str]:
        """What is wrong, in words."""
        where = coordinator_pb2.TaskFilter(method=CACHED, states=[task_pb2.TASK_STATE_SUCCEEDED])
        return [*self._problems, *judged(self.answers, await all_tasks(self._door, where))]


def judged(answers: Sequence[Answer], made: Sequence[task_pb2.Task]) -> list[str]:
    """What is wrong with these answers and the tasks that have succeeded, in words. Pure."""
    found = []
    by_text: dict[str, list[task_pb2.Task]] = defaultdict(list)
    for task in made:
        by_text[ProbeReply.FromString(task.outcome.response).text].append(task)
    for text, runs in by_text.items():
        runs.sort(key=lambda task: seconds(task.create_time))
        for one, other in pairwise(runs):
            # Not from its submission, which may be under way when the result gets too old.
            after_s = seconds(other.start_time) - seconds(one.finish_time)
            if after_s < CACHE_S - _APART_S:
                found.append(f"{text} ran again as {other.id}, {after_s:g} s after {one.id} had ended")
    ended = {task.id: (text, seconds(task.finish_time)) for text, runs in by_text.items() for task in runs}
    for answer in answers:
        text, ended_s = ended.get(answer.task_id, ("", 0.0))
        if text != answer.text:
            found.append(f"{answer.text} was answered by {answer.task_id}, which is of {text or 'nobody'}")
        elif answer.stored and answer.asked_at_s - ended_s > CACHE_S + _APART_S:
            found.append(f"{answer.text} got a result of {answer.asked_at_s - ended_s:g} s ago")
    return found
