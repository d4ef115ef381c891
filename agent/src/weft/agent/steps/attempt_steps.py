"""The steps of a running attempt: answered from the task's records, or taken and recorded.

    handler ─► step, sleep, wait_signal ─► a record has it ─────────────────────────► its value
                                           └ none: done here ─► RecordStep ─► the record that stays ─► its value

The records are read at the first step: an attempt without steps costs nothing. A handler that only waits ends by `Suspended`, and its task is
queued again when it can go on. Lives on the event loop of the client that it uses.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from weft.agent.steps import step_values
from weft.agent.steps.step_book import SIGNALS, Step, StepBook, check_name
from weft.agent.steps.suspended import Suspended
from weft.rpc.calls.metadata import DIRECT, MODE_KEY, STEP_ANEW_KEY, STEP_KEY
from weft.rpc.errors import FailedPrecondition, NotFound, RetryLater
from weft.rpc.payloads.payload_coder import RESPONSE
from weft.rpc.times import MAX_DURATION_S, duration, seconds
from weft.v1 import errors_pb2, session_pb2, step_pb2, task_pb2

if TYPE_CHECKING:
    from weft.client import Mesh

T = TypeVar("T")

# A sleep below this is slept in place, and is no step: to record it would take as long as some of it.
SHORT_S = 1.0
# A wait that has become this short is not worth another attempt.
_LEAST_WAIT_S = 0.5
# How long a handler that waits for calls alone keeps its slot.
PATIENCE_S = 2.0
# Calls that an attempt waits for, by their names.
_MOST_CALLS = 100
# How long an attempt may be unknown to a coordinator that has just started, and how often it is asked.
_ADOPTED_S = 15.0
_AGAIN_S = 0.2
_UNKNOWN_YET = (errors_pb2.ERROR_REASON_ATTEMPT_OVER, errors_pb2.ERROR_REASON_TASK_NOT_FOUND)
# How often a wait looks for its signal while something else of the handler goes on.
_LOOK_S = 1.0
_ANEW = (session_pb2.RERUN_CAUSE_FAILED, session_pb2.RERUN_CAUSE_REQUESTED)
_OWN_IDS = ("weft-request-id", STEP_KEY)


class StepCall(Protocol):
    """The running call, as its steps need it."""

    agent_id: str
    # Set when the handler only waits; and for what, in words.
    suspension: task_pb2.Suspension | None
    waits_for: str

    @property
    def assignment(self) -> session_pb2.Assignment:
        """Its assignment."""
        ...


@dataclass(slots=True, eq=False)
class _Wait:
    """Something that the handler waits for."""

    text: str
    # By the coordinators' clock; None: no limit.
    wake_time: Timestamp | None
    for_signal: bool
    # The name of a remembered call.
    call: str = ""


class AttemptSteps:
    """The steps of one attempt. Large because it has each kind of step, and what they share."""

    def __init__(self, call: StepCall, mesh: Callable[[], Mesh]) -> None:
        self._call = call
        self._mesh = mesh
        self._book = StepBook()
        self._loading: asyncio.Future[None] | None = None
        self._children: Counter[str] = Counter()
        # Steps and calls of the handler that are under way.
        self._busy = 0
        self._changed = asyncio.Event()
        self._waits: set[_Wait] = set()
        # The coordinators' time, and this process' monotonic time then.
        self._time = (0.0, 0.0)

    # -- kinds of steps -------------------------------------------------------------------------------------------

    async def step(self, name: str, function: Callable[[], Any]) -> Any:
        """A local step; the function may be asynchronous."""
        async with self.taking(name) as taken:
            if not taken.known:
                value = function()
                taken.value = await value if hasattr(value, "__await__") else value
        return taken.value

    @asynccontextmanager
    async def taking(self, name: str) -> AsyncIterator[TakenStep]:
        """A local step. If it is not known, its value is to be set, and is recorded at the end; afterwards it is as the record has it."""
        full = self._book.next_name(check_name(name))
        await self._loaded()
        if (known := self._book.find(full, step_pb2.STEP_KIND_VALUE)) is not None:
            yield TakenStep(await self._decoded(known.value), known=True)
            return
        with self._doing():
            taken = TakenStep()
            yield taken
            value = await self._encoded(step_values.encode(full, taken.value))
            recorded = await self._record(full, step_pb2.STEP_KIND_VALUE, value)
            taken.value = await self._decoded(recorded.value)

    async def sleep(self, seconds_: float) -> None:
        """Wait; a long wait gives the slot back."""
        if not 0 <= seconds_ <= MAX_DURATION_S:
            raise ValueError(f"a sleep takes 0 to {MAX_DURATION_S:g} seconds, not {seconds_!r}")
        if seconds_ < SHORT_S:
            await asyncio.sleep(seconds_)
            return
        full = self._book.next_name("sleep")
        await self._loaded()
        record = self._book.find(full, step_pb2.STEP_KIND_SLEEP)
        if record is None:
            with self._doing():
                record = await self._record(full, step_pb2.STEP_KIND_SLEEP, delay_s=seconds_)
        await self._wait(_Wait("the end of a sleep", record.wake_time, for_signal=False), lambda: None)

    async def wait_signal(self, name: str, timeout_s: float | None = None) -> Any:
        """The value of the next signal of a name.

        Raises:
            TimeoutError: there was none in time. Another attempt has the same answer.
        """
        check_name(name)
        if timeout_s is not None and not 0 <= timeout_s <= MAX_DURATION_S:
            raise ValueError(f"a wait takes 0 to {MAX_DURATION_S:g} seconds, not {timeout_s!r}")
        full = self._book.next_name(f"wait/{name}")
        await self._loaded()
        ended = f"{full}/ended"
        late = TimeoutError(f"no signal {name!r} came within {timeout_s} s")
        if self._book.find(ended, step_pb2.STEP_KIND_TIMEOUT) is not None:
            raise late
        signals = f"{SIGNALS}{name}"
        numbered = self._book.next_name(signals)
        signal = f"{signals}#1" if numbered == signals else numbered
        found = self._find_signal(signal)
        if found is None:
            wake_time = None
            if timeout_s is not None:
                record = self._book.find(full, step_pb2.STEP_KIND_WAIT)
                if record is None:
                    with self._doing():
                        record = await self._record(full, step_pb2.STEP_KIND_WAIT, delay_s=timeout_s)
                wake_time = record.wake_time
            await self._look()
            wait = _Wait(f"signal {name}", wake_time, for_signal=True)
            found = await self._wait(wait, lambda: self._find_signal(signal))
        if found is None:
            with self._doing():
                await self._record(ended, step_pb2.STEP_KIND_TIMEOUT)
            self._book.give_back(signals)
            raise late
        return step_values.decode(found.value)

    # -- calls of the handler -------------------------------------------------------------------------------------

    def name_of(self, method: str, metadata: Any) -> tuple[tuple[str, str], ...]:
        """What makes a call of a method a remembered one; empty: it is none, or has its name already."""
        call = self._call.assignment
        own = dict(metadata or ())
        anew = ((STEP_ANEW_KEY, "true"),) if call.rerun.cause in _ANEW and STEP_ANEW_KEY not in own else ()
        if STEP_KEY in own:
            return anew
        if not call.durable_children or own.get(MODE_KEY) == DIRECT or any(key in own for key in _OWN_IDS):
            return ()
        self._children[method] += 1
        return ((STEP_KEY, f"{method}#{self._children[method]}"), *anew)

    def follow(self, call: Any) -> Any:
        """Do not take the handler for one that only waits while this call is under way."""
        self._busy += 1
        call.add_done_callback(lambda _: self._done())
        return call

    async def wait_call(self, name: str, ended: asyncio.Future[Any]) -> None:
        """Wait for the end of a remembered call. Ends the handler if it only waits, after a while: most calls are short."""
        wait = _Wait(f"call {name}", None, for_signal=False, call=name)
        # It was under way so far; now it is waited for.
        self._busy -= 1
        patient_until_s = time.monotonic() + PATIENCE_S
        self._waits.add(wait)
        try:
            while not ended.done():
                left_s = patient_until_s - time.monotonic()
                if left_s <= 0.0 and not self._busy:
                    self._suspend()
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait(
                    {ended, changed}, timeout=max(left_s, _LEAST_WAIT_S), return_when="FIRST_COMPLETED"
                )
                changed.cancel()
        finally:
            self._waits.discard(wait)
            self._busy += 1

    # -- waiting --------------------------------------------------------------------------------------------------

    async def _wait(self, wait: _Wait, found: Callable[[], Step | None]) -> Step | None:
        """Wait until something is found, or the time has come. Ends the handler if it only waits."""
        self._waits.add(wait)
        try:
            while True:
                if (step := found()) is not None:
                    return step
                left_s = self._left_s(wait.wake_time)
                if left_s is not None and left_s <= 0.0:
                    return None
                if not self._busy and (left_s is None or left_s > _LEAST_WAIT_S):
                    self._suspend()
                self._changed.clear()
                longest_s = _LOOK_S if wait.for_signal else None
                if left_s is not None:
                    longest_s = left_s if longest_s is None else min(left_s, longest_s)
                try:
                    async with asyncio.timeout(longest_s):
                        await self._changed.wait()
                except TimeoutError:
                    if wait.for_signal:
                        await self._look()
        finally:
            self._waits.discard(wait)

    def _suspend(self) -> None:
        """
        Raises:
            Suspended: always.
        """
        suspension = task_pb2.Suspension()
        times = [wait.wake_time for wait in self._waits if wait.wake_time is not None]
        if times:
            suspension.wake_time.CopyFrom(min(times, key=_order))
        suspension.calls.extend(sorted({wait.call for wait in self._waits if wait.call})[:_MOST_CALLS])
        if any(wait.for_signal for wait in self._waits):
            suspension.signals = self._book.signals
        self._call.suspension = suspension
        self._call.waits_for = ", or ".join(sorted({wait.text for wait in self._waits}))
        raise Suspended

    def _left_s(self, wake_time: Timestamp | None) -> float | None:
        if wake_time is None:
            return None
        told_at, then_s = self._time
        return seconds(wake_time) - told_at - (time.monotonic() - then_s)

    def _find_signal(self, name: str) -> Step | None:
        return self._book.find(name, step_pb2.STEP_KIND_SIGNAL)

    @contextmanager
    def _doing(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._done()

    def _done(self) -> None:
        self._busy -= 1
        self._changed.set()

    # -- the coordinator ------------------------------------------------------------------------------------------

    async def _loaded(self) -> None:
        """Read the task's records once."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._look())
        with self._doing():
            await asyncio.shield(self._loading)

    async def _look(self) -> None:
        """Read the records that have come since."""
        from weft.client.step_access import api_of
        from weft.client.task_steps import steps_of

        async def read() -> None:
            pages = steps_of(api_of(self._mesh()), self._call.assignment.task_id, self._book.last_sequence)
            async for page in pages:
                self._time = seconds(page.time), time.monotonic()
                self._book.take_in(page.steps)

        await _until_adopted(read)

    async def _record(
        self, name: str, kind: step_pb2.StepKind, value: bytes = b"", delay_s: float | None = None
    ) -> Step:
        from weft.client.step_access import api_of
        from weft.client.task_steps import RECORD_STEP

        assignment = self._call.assignment
        request = step_pb2.RecordStepRequest(
            task_id=assignment.task_id,
            attempt=assignment.attempt,
            agent_id=self._call.agent_id,
            name=name,
            kind=kind,
            value=value,
            delay=None if delay_s is None else duration(delay_s),
        )
        answer = await _until_adopted(lambda: api_of(self._mesh()).call(RECORD_STEP, request))
        if answer.HasField("time_left"):
            self._time = seconds(answer.step.wake_time) - seconds(answer.time_left), time.monotonic()
        self._book.add(answer.step)
        return answer.step

    async def _encoded(self, value: bytes) -> bytes:
        coder = self._mesh().coder
        return value if coder is None else await coder.encode_async(value, RESPONSE, self._method)

    async def _decoded(self, value: bytes) -> Any:
        coder = self._mesh().coder
        if coder is not None:
            value = await coder.decode_async(value, RESPONSE, (self._method,))
        return step_values.decode(value)

    @property
    def _method(self) -> str:
        return self._call.assignment.method


@dataclass(slots=True)
class TakenStep:
    """A local step that is being taken: its value, and whether a record had it."""

    value: Any = None
    known: bool = False


def _order(moment: Timestamp) -> tuple[int, int]:
    return moment.seconds, moment.nanos


async def _until_adopted(ask: Callable[[], Awaitable[T]]) -> T:
    """As `_until_answered`, and ask again for a while if the attempt is not known: after a restart, a coordinator knows it when the agent's
    session is open again, and a short call may begin before its task is stored. An attempt that is lost is cancelled."""
    patient_until_s = time.monotonic() + _ADOPTED_S
    while True:
        try:
            return await _until_answered(ask)
        except (FailedPrecondition, NotFound) as error:
            if error.reason not in _UNKNOWN_YET or time.monotonic() > patient_until_s:
                raise
            await asyncio.sleep(_AGAIN_S)


async def _until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until a coordinator answers. The end of the attempt ends it: nothing of the handler can go on without an answer."""
    while True:
        try:
            return await ask()
        except RetryLater:
            # The client has tried for its own time already.
            await asyncio.sleep(_LOOK_S)
