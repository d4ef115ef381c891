"""An agent as a bare session that keeps each attempt until the test ends it; contracts of the probe service with options; and
tasks for both."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc.aio

from probe.v1 import probe_pb2
from probe.v1.probe_pb2 import Payload
from tests.support import tasks
from tests.support.lightweight import ECHO, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from tests.support.policies import Options, plain_set, with_options
from tests.support.processes import until
from weft.rpc.contracts.descriptors import PlainFileProto
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2, session_pb2, task_pb2


def probe_contract(methods: Mapping[str, Options]) -> bytes:
    """The probe service's contract with options of methods, by simple name."""
    plain = PlainFileProto.FromString(probe_pb2.DESCRIPTOR.serialized_pb)
    return plain_set(with_options(plain, methods))


class PatientAgent(LightAgent):
    """Keeps its attempts until `finish`. `running` has them by task id, oldest first; `most` is the largest number at a time."""

    def __init__(self, channel: grpc.aio.Channel, agent_id: str, **given: Any) -> None:
        super().__init__(channel, agent_id, **{"slots": 16, "answer": never, "methods": (ECHO,), **given})
        self._ended: set[str] = set()

    @property
    def running(self) -> dict[str, session_pb2.Assignment]:
        return {each.task_id: each for each in self.assigned if each.task_id not in self._ended}

    async def runs(self, count: int) -> list[str]:
        """Wait until it runs so many attempts; the ids of their tasks."""
        await until(lambda: len(self.running) >= count, f"{count} attempts at {self.agent_id}")
        return list(self.running)

    async def finish(self, *task_ids: str, **outcome: Any) -> None:
        """End attempts, with OK if nothing else is said; without ids all."""
        ending = [self.running[task_id] for task_id in task_ids or self.running]
        self._ended.update(each.task_id for each in ending)
        await self.send(session_pb2.ConnectRequest(results=[result_of(each, **outcome) for each in ending]))


def ask(data: str = "", **options: Any) -> api.SubmitTaskRequest:
    payload = Payload(data=data.encode()).SerializeToString()
    return api.SubmitTaskRequest(method=ECHO, payload=payload, options=task_pb2.TaskOptions(**options))


async def submit(mesh: MeshHarness, *requests: api.SubmitTaskRequest) -> list[str]:
    """Submit tasks together; their ids."""
    call = mesh.api().SubmitTasks(iter([api.SubmitTasksRequest(tasks=requests)]), timeout=10)
    acks = [ack async for response in call for ack in response.acks]
    assert not any(ack.HasField("error") for ack in acks), acks
    return [ack.task_id for ack in acks]


async def waits(mesh: MeshHarness, task_id: str, reason: fleet_pb2.WaitReason) -> task_pb2.Task:
    """The task, once it waits for this reason."""
    seen = task_pb2.Task()

    async def holds() -> bool:
        seen.CopyFrom(await tasks.look(mesh, task_id))
        return seen.waiting.reason == reason

    await mesh.eventually(holds, f"{task_id} waits with {fleet_pb2.WaitReason.Name(reason)}, not {seen}")
    return seen


@contextlib.asynccontextmanager
async def patient(mesh: MeshHarness, agent_id: str, **given: Any) -> AsyncIterator[PatientAgent]:
    async with PatientAgent(mesh.own_channel(), agent_id, **given) as agent:
        await mesh.wait_serving()
        yield agent
