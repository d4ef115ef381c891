"""The worker of outgoing hooks at one coordinator: an agent within its own process, without a connection.

It keeps the rules of sessions as any other agent does (`weft/v1/session.proto`): hello, heartbeats, results. So queues, retries, leases, limits and
listings know deliveries as they know all tasks, and another coordinator takes over what a dead one had.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

from google.rpc import code_pb2, status_pb2

from weft.coordinator.sessions.sessions import Sessions
from weft.hooks.v1 import delivery_pb2
from weft.rpc.contracts.descriptors import digest, file_descriptor_set
from weft.rpc.errors import WeftError
from weft.rpc.identity.caller import OPERATOR, Caller
from weft.rpc.process.logs import get_logger
from weft.rpc.process.version import VERSION
from weft.rpc.times import seconds
from weft.v1 import fleet_pb2, session_pb2, task_pb2

log = get_logger(__name__)

DELIVER = f"{delivery_pb2.DESCRIPTOR.services_by_name['HookDelivery'].full_name}/Deliver"
# Deliveries at a time.
SLOTS = 32
RETRY_S = 1.0
STOP_S = 2.0
# Who it is: nobody else may host the method.
OWN = Caller(OPERATOR, subject="")
_ID = re.compile(r"[^A-Za-z0-9._:/@-]")

Request: TypeAlias = session_pb2.ConnectRequest
Response: TypeAlias = session_pb2.ConnectResponse
_Ref: TypeAlias = tuple[str, int]


def hosts_deliveries(hello: session_pb2.Hello) -> bool:
    """Whether an agent says that it hosts the method."""
    return any(method.name == DELIVER for method in hello.methods)


class HookWorker:
    """The worker. `start`, then it is `ready` soon; `await stop()` ends it.

    Args:
        deliver: carries out one attempt, and raises nothing.
    """

    def __init__(
        self,
        sessions: Sessions,
        coordinator_id: str,
        deliver: Callable[[session_pb2.Assignment], Awaitable[task_pb2.Outcome]],
    ) -> None:
        self._sessions = sessions
        self._agent_id = f"hooks@{_ID.sub('-', coordinator_id)}"[:128]
        self._instance_id = secrets.token_hex(16)
        self._deliver = deliver
        self._contract = file_descriptor_set([delivery_pb2.DESCRIPTOR])
        self._keeping: asyncio.Task[None] | None = None
        self._stopped = False
        self._serving: asyncio.Task[None] | None = None
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._running: dict[_Ref, asyncio.Task[task_pb2.Outcome]] = {}
        self.ready = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether it is started."""
        return self._keeping is not None

    def start(self) -> None:
        """Take deliveries from now on; does nothing once it was stopped."""
        if self._keeping is None and not self._stopped:
            self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="hook worker")

    async def stop(self) -> None:
        """Give back what it has, and leave. Bounded in time."""
        self._stopped = True
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        self.ready.clear()
        held = list(self._running)
        for task in list(self._running.values()):
            task.cancel()
        released = [session_pb2.Released(task_id=task_id, attempt=attempt) for task_id, attempt in held]
        self._requests.put_nowait(Request(released=released, goodbye=True))
        if self._serving is not None:
            await asyncio.wait([self._serving], timeout=STOP_S)
            self._serving.cancel()
        keeping.cancel()
        await asyncio.gather(keeping, *filter(None, [self._serving]), return_exceptions=True)

    # -- its session --------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Sessions, one after another."""
        while True:
            self._requests = asyncio.Queue()
            self._serving = asyncio.get_running_loop().create_task(
                self._serve(), name="hook worker's session"
            )
            try:
                await asyncio.shield(self._serving)
            except WeftError as error:
                log.warning("hook.worker_ended", error=error.message)
            except asyncio.CancelledError:
                own = asyncio.current_task()
                if own is None or own.cancelling():
                    raise
            except Exception:
                log.exception("hook.worker_failed")
            self.ready.clear()
            for task in list(self._running.values()):
                task.cancel()
            await asyncio.sleep(RETRY_S)

    async def _serve(self) -> None:
        # It takes a second, in which the event loop does other work.
        await asyncio.to_thread(import_module, "weft.coordinator.hooks.hook_client")
        hello = session_pb2.Hello(
            agent_id=self._agent_id,
            instance_id=self._instance_id,
            contract_hash=digest(self._contract),
            methods=[fleet_pb2.HostedMethod(name=DELIVER)],
            slots=SLOTS,
            version=VERSION,
        )
        self._requests.put_nowait(Request(hello=hello))
        beating: list[asyncio.Task[None]] = []

        async def requests() -> AsyncIterator[Request]:
            while True:
                yield await self._requests.get()

        context: Any = _Inside(lambda response: self._take(response, beating))
        try:
            await self._sessions.serve(requests(), context, OWN)
        finally:
            for task in beating:
                task.cancel()

    def _look(self) -> None:
        """It is ready when its contract is accepted."""
        session = self._sessions.get(self._agent_id)
        if session is None or self._keeping is None:
            return
        if session.accepted:
            self.ready.set()
        elif session.admission is not None and not session.admission.done():
            session.admission.add_done_callback(lambda _: self._look())

    def _take(self, response: Response, beating: list[asyncio.Task[None]]) -> None:
        """What the coordinator says."""
        if response.HasField("welcome"):
            if response.welcome.contract_needed:
                sent = session_pb2.Contract(file_descriptor_set=self._contract)
                self._requests.put_nowait(Request(contract=sent))
            interval_s = seconds(response.welcome.heartbeat_interval)
            beating.append(
                asyncio.get_running_loop().create_task(self._beat(interval_s), name="hook worker's beat")
            )
        if response.echo_sequence and not self.ready.is_set():
            self._look()
        for assignment in response.assignments:
            ref = assignment.task_id, assignment.attempt
            task = asyncio.get_running_loop().create_task(self._run(assignment), name="hook delivery")
            self._running[ref] = task
            # Also of one that is cancelled before it begins.
            task.add_done_callback(partial(self._ended, ref, self._requests))
        for cancel in response.cancels:
            if (running := self._running.get((cancel.task_id, cancel.attempt))) is not None:
                running.cancel()

    async def _beat(self, interval_s: float) -> None:
        sequence = 0
        while True:
            sequence += 1
            self._requests.put_nowait(Request(state=session_pb2.AgentReport(sequence=sequence)))
            await asyncio.sleep(interval_s)

    async def _run(self, assignment: session_pb2.Assignment) -> task_pb2.Outcome:
        try:
            async with asyncio.timeout(_left_s(assignment)):
                return await self._deliver(assignment)
        except TimeoutError:
            return _broken_off(code_pb2.DEADLINE_EXCEEDED)

    def _ended(
        self, ref: _Ref, requests: asyncio.Queue[Request], task: asyncio.Task[task_pb2.Outcome]
    ) -> None:
        self._running.pop(ref, None)
        # Of the task, or of the worker: then nobody takes this.
        outcome = _broken_off(code_pb2.CANCELLED) if task.cancelled() else task.result()
        result = session_pb2.AttemptResult(task_id=ref[0], attempt=ref[1], outcome=outcome)
        requests.put_nowait(Request(results=[result]))


class _Inside:
    """The coordinator's end of a session without a connection."""

    def __init__(self, take: Callable[[Response], None]) -> None:
        self._take = take

    async def write(self, response: Response) -> None:
        self._take(response)


def _broken_off(code: int) -> task_pb2.Outcome:
    return task_pb2.Outcome(status=status_pb2.Status(code=code, message="the delivery was ended"))


def _left_s(assignment: session_pb2.Assignment) -> float | None:
    return seconds(assignment.time_left) if assignment.HasField("time_left") else None
