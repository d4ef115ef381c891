"""The call behind the running handler, durable or direct: the values of `weft.agent.current_task()`, and the call
context of the handler's own calls."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

from weft.agent.handlers.call_steps import steps_of, sync_steps_of
from weft.agent.handlers.keyed_state import HeldState, StateLeft, state_of
from weft.agent.handlers.mesh_clients import MeshClients, own_clients
from weft.agent.handlers.used_units import add_unit
from weft.rpc.calls import call_context
from weft.v1 import session_pb2, task_pb2

if TYPE_CHECKING:
    from weft.agent.steps.attempt_steps import AttemptSteps
    from weft.agent.steps.sync_steps import SyncSteps
    from weft.client import Mesh
    from weft.client.sync import SyncMesh


T = TypeVar("T")
# Ids of direct calls begin so.
CALL_ID = "call-"


class CancelSignal:
    """Whether an attempt was cancelled (or ran out of time), in the manner of `threading.Event`."""

    # One lock for all signals: it is held for an instant, and only by handlers that wait.
    _lock: ClassVar[threading.Lock] = threading.Lock()
    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: threading.Event | None = None

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Block the calling thread until cancelled or `timeout` seconds have passed; says whether cancelled."""
        with self._lock:
            if self._event is None:
                self._event = threading.Event()
                if self._set:
                    self._event.set()
        return self._event.wait(timeout)

    def set(self) -> None:
        with self._lock:
            self._set = True
            if self._event is not None:
                self._event.set()

    def __bool__(self) -> bool:
        return self._set


class RunningCall(Protocol):
    """A call whose handler is running."""

    agent_id: str
    used_units: dict[str, float] | None
    keyed_state: HeldState | StateLeft | None
    state_limit_bytes: int
    durable: bool
    blocking: bool
    steps: AttemptSteps | None
    suspension: task_pb2.Suspension | None
    waits_for: str

    @property
    def assignment(self) -> session_pb2.Assignment:
        """Its assignment; for a direct call one made for it, without the payload."""
        ...

    @property
    def cancel_signal(self) -> CancelSignal:
        """Whether it was cancelled."""
        ...

    def time_left_s(self) -> float | None:
        """Seconds until its deadline; None: no limit."""
        ...

    def child_context(self) -> call_context.CallContext:
        """The call context that calls made from it inherit."""
        ...


class RunningTask:
    """The task behind the running handler, as `weft.agent.current_task()` gives it. Large because it has a property for each thing that handlers
    ask of their task."""

    __slots__ = ("_clients", "_context")

    def __init__(self, context: RunningCall, clients: MeshClients | None) -> None:
        self._context = context
        self._clients = clients

    @property
    def id(self) -> str:
        """The task's id, unique for ever; a direct call has one that its agent has generated."""
        return self._context.assignment.task_id

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1; of a direct call always 1."""
        return self._context.assignment.attempt

    @property
    def method(self) -> str:
        """Full name of the method, such as "acme.v1.Analyst/Analyze"."""
        return self._context.assignment.method

    @property
    def request_id(self) -> str:
        """The caller's idempotency key; empty when it gave none."""
        return self._context.assignment.request_id

    @property
    def priority(self) -> int:
        """0 to 9, higher first."""
        return self._context.assignment.priority

    @property
    def agent_id(self) -> str:
        """The agent that runs it."""
        return self._context.agent_id

    @property
    def root_id(self) -> str:
        """Id of the task or call at the root of this call's tree: this one's own, when nothing called it."""
        return self._context.assignment.context.root_id or self.id

    @property
    def parent_id(self) -> str:
        """Id of the task or call whose handler made this call; empty when it came from outside."""
        return self._context.assignment.context.parent_id

    @property
    def session(self) -> str:
        """The key of the sticky session that the call belongs to; empty: none. As long as the session lasts, this agent has its other calls, too."""
        return self._context.assignment.context.session.key

    @property
    def deadline(self) -> datetime | None:
        """When this attempt must have ended, by the coordinator's clock; None: no limit."""
        assignment = self._context.assignment
        return assignment.deadline.ToDatetime(UTC) if assignment.HasField("deadline") else None

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, by this machine's clock; None: no limit."""
        return self._context.time_left_s()

    @property
    def cancelled(self) -> CancelSignal:
        """Set when the attempt is cancelled or out of time: `.is_set()`, or `.wait(timeout)` in a thread."""
        return self._context.cancel_signal

    def use(self, unit: str, amount: float) -> None:
        """Say that this attempt has used something, such as `use("tokens", 812)`: it is added to the usage of the method, the agent
        and the tree of tasks (`weft usage`), and counts for budgets. May be called several times, and from any thread.

        What a direct call uses is counted, too: its agent reports it with its next heartbeat. A spent budget refuses durable calls alone.

        Args:
            unit: its name: 1 to 64 letters, digits, ".", "_" and "-"; at most 16 different ones in an attempt.
            amount: how much more was used: 0 or above.

        Raises:
            ValueError: the unit or the amount cannot be counted.
        """
        add_unit(self._context, unit, amount)

    async def step(self, name: str, function: Callable[[], Awaitable[T] | T]) -> T:
        """Take a step once: call the function and remember what it returns. A later attempt gets the value instead of a call.

        The step counts as taken when its value is recorded: if the agent dies before, another attempt takes it again. An exception is not
        remembered. The function must not take steps itself.

        Args:
            name: 1 to 128 printable ASCII characters without spaces and "#". Steps of one name are told apart by their order.
            function: without arguments; `async def` or plain. It returns JSON values, bytes or a protobuf message, of at most 256 KiB; a
                tuple comes back as a list.

        Raises:
            FailedPrecondition: the task has another record under the name (STEP_CHANGED); the attempt is not the current one any more
                (ATTEMPT_OVER); this is a direct call (STEP_NOT_DURABLE).
            ResourceExhausted: the task has 10,000 steps, or 16 MiB of values (STEP_LIMIT).
            TypeError, ValueError: the name, or the value, is not as above.
        """
        value: T = await self._steps.step(name, function)
        return value

    async def sleep(self, seconds: float) -> None:
        """Sleep, through the loss of anything. From one second on, the end is recorded, and a handler that does nothing else gives its slot
        back: it ends here by an exception that it must let pass (no `Exception`), and runs again when the time has come.

        Args:
            seconds: 0 to 366 days.
        """
        await self._steps.sleep(seconds)

    async def now(self) -> datetime:
        """The time, by this machine's clock: a later attempt gets the same."""
        return datetime.fromtimestamp(await self.step("now", time.time), UTC)

    async def random(self) -> float:
        """A random number in [0, 1): a later attempt gets the same."""
        return await self.step("random", random.random)

    async def wait_signal(self, name: str, timeout_s: float | None = None) -> Any:
        """Wait for the next signal of a name (`Tasks.signal`, `weft tasks signal`), also one that was sent before. A handler that does nothing
        else gives its slot back, as in `sleep`.

        Args:
            name: letters, digits, ".", "_", "-" and "/".
            timeout_s: how long; None: without limit.

        Returns:
            What the signal brings; None: nothing.

        Raises:
            TimeoutError: no signal came in time. A later attempt has the same answer.
        """
        return await self._steps.wait_signal(name, timeout_s)

    @property
    def sync_steps(self) -> SyncSteps:
        """`step`, `sleep`, `now`, `random` and `wait_signal` for plain `def` handlers.

        Raises:
            FailedPrecondition: this is a direct call (STEP_NOT_DURABLE).
            LookupError: no agent runs this handler.
            WrongThread: this is an `async def` handler.
        """
        return sync_steps_of(self._context)

    @property
    def _steps(self) -> AttemptSteps:
        return steps_of(self._context)

    @property
    def state(self) -> HeldState:
        """The state that a lock of this task keeps (`Lock(..., state=True)`): read and changed by this handler alone while it runs, and stored
        with its result.

        Raises:
            LookupError: no lock of the task keeps a state, or this is a direct call.
        """
        return state_of(self._context, self._clients)

    @property
    def mesh(self) -> Mesh:
        """A client of the agent's own mesh, for `async def` handlers: `await XStub(current_task().mesh.channel()).Method(...)`.

        Its calls have at most the time that is left of this call, and belong to its tree and its trace. It is made when
        it is first asked for, shared by the agent's handlers, and closed with the agent: do not close it.

        Raises:
            LookupError: no agent runs this handler; a unit test may call it directly, for example.
        """
        return self._own_clients().mesh

    @property
    def sync_mesh(self) -> SyncMesh:
        """The same for plain `def` handlers: `XStub(current_task().sync_mesh.channel()).Method(...)`.

        Raises:
            LookupError: no agent runs this handler.
            WrongThread: this is an `async def` handler, which would block the event loop.
        """
        return self._own_clients().sync_mesh

    def _own_clients(self) -> MeshClients:
        if self._clients is None:
            raise LookupError("a handler has a client of its mesh only where an agent runs it")
        return self._clients


def current_task() -> RunningTask:
    """The task whose handler is running here.

    Raises:
        LookupError: called from outside a handler.
    """
    call = call_context.handled()
    if call is None:
        raise LookupError("current_task() was called outside a handler that an agent runs")
    # Only handlers' contexts are entered here.
    return RunningTask(cast("RunningCall", call), own_clients())


def call_context_of(
    assignment: session_pb2.Assignment, deadline_at: float | None
) -> call_context.CallContext:
    """The call context that the children of a call inherit."""
    call = assignment.context
    return call_context.CallContext(
        root_id=call.root_id or assignment.task_id,
        parent_id=assignment.task_id,
        deadline_at=deadline_at,
        traceparent=call.traceparent,
        tracestate=call.tracestate,
        baggage=call.baggage,
        budgets=tuple(each.SerializeToString() for each in call.budgets),
    )
