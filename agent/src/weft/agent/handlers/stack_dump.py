"""What a process is doing: the stacks of its handlers, asyncio tasks and threads, and its child processes.

Nothing is kept for it while handlers run: which handler a stack belongs to is read from the frame of `invoke_async` or `invoke_sync` in
it. Made in a thread of its own, also while the event loop is blocked. Frames come without values, and so without secrets.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any, NamedTuple, Protocol

from weft.agent.handlers import invoke
from weft.agent.handlers.call_stacks import Call, calls_of_task, calls_of_thread
from weft.agent.handlers.handler_context import HandlerContext
from weft.rpc.process import process_readings
from weft.rpc.times import duration, seconds
from weft.v1 import command_pb2

MAX_FRAMES = 64
MAX_CHILDREN = 128
MAX_BYTES = 384 * 1024
# How long the processes of isolated handlers may take.
ISOLATED_S = 1.0

ASYNC, THREADED = command_pb2.STACK_KIND_ASYNC_HANDLER, command_pb2.STACK_KIND_THREAD_HANDLER
ISOLATED = command_pb2.STACK_KIND_ISOLATED_HANDLER
TASK, THREAD = command_pb2.STACK_KIND_TASK, command_pb2.STACK_KIND_THREAD
_ORDER = (ASYNC, THREADED, ISOLATED, TASK, THREAD)

Stack = command_pb2.ProgramStack


class IsolatedDump(NamedTuple):
    """What the process of an isolated handler has answered."""

    context: HandlerContext
    process_id: int
    # None: nothing, in time.
    stacks: Sequence[Stack] | None


class IsolatedProcesses(Protocol):
    """The processes of isolated handlers."""

    def dumps(self, timeout_s: float) -> Sequence[IsolatedDump]:
        """Ask each that runs a handler."""
        ...


class StackDumper:
    """Dumps the stacks of one process.

    Args:
        loop_thread: identifier of the thread in which the event loop runs.
        isolated: None: there are none.
        began: when the handler of an attempt began, by the monotonic clock; None: it is not known.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        loop_thread: int,
        process_id: int,
        isolated: IsolatedProcesses | None = None,
        began: Callable[[str, int], float | None] = lambda _task_id, _attempt: None,
    ) -> None:
        self._began = began
        self._loop = loop
        self._loop_thread = loop_thread
        self._process_id = process_id
        self._isolated = isolated

    def dump(self) -> command_pb2.StackDump:
        """Everything, within the bounds of an answer. Not on the event loop."""
        dump = command_pb2.StackDump(process_id=self._process_id)
        dump.children.extend(
            command_pb2.ChildProcess(
                process_id=child.process_id,
                parent_id=child.parent_id,
                name=child.name,
                state=child.state,
                cpu_time=duration(child.cpu_s),
                memory_bytes=child.memory_bytes,
                age=duration(child.age_s),
            )
            for child in process_readings.children(MAX_CHILDREN)
        )
        size_bytes = dump.ByteSize()
        for stack in sorted(self.stacks(), key=_order):
            size_bytes += stack.ByteSize()
            if size_bytes > MAX_BYTES:
                dump.left_out += 1
            else:
                dump.stacks.append(stack)
        return dump

    def stacks(self) -> list[Stack]:
        """All stacks of this process, and those of isolated handlers."""
        frames = sys._current_frames()
        found = [*self._tasks(calls_of_thread(frames.get(self._loop_thread))), *self._threads(frames)]
        if self._isolated is not None:
            for dump in self._isolated.dumps(ISOLATED_S):
                found.extend(_of_isolated(dump))
        now_s = time.monotonic()
        for stack in found:
            if (began_s := self._began(stack.task_id, stack.attempt)) is not None:
                stack.running.CopyFrom(duration(now_s - began_s))
        return found

    def _tasks(self, on_loop: Sequence[Call]) -> Iterator[Stack]:
        try:
            tasks = asyncio.all_tasks(self._loop)
        except RuntimeError:
            # They change too fast to be listed from another thread.
            return
        for task in tasks:
            stack = Stack(kind=TASK, name=task.get_name(), process_id=self._process_id)
            calls = calls_of_task(task)
            running = [at for at, call in enumerate(on_loop) if calls and call.frame is calls[0].frame]
            if running:
                calls, stack.active = on_loop[running[0] :], True
            yield _filled(stack, calls, ASYNC, _ASYNC)

    def _threads(self, frames: dict[int, FrameType]) -> Iterator[Stack]:
        names = {each.ident: each.name for each in threading.enumerate()}
        for ident, innermost in frames.items():
            if ident != threading.get_ident():
                stack = Stack(
                    kind=THREAD, name=names.get(ident, f"thread {ident}"), process_id=self._process_id
                )
                yield _filled(stack, calls_of_thread(innermost), THREADED, _SYNC)


_ASYNC, _SYNC = invoke.invoke_async.__code__, invoke.invoke_sync.__code__


def _filled(
    stack: Stack, calls: Sequence[Call], handler_kind: command_pb2.StackKind, begins: CodeType
) -> Stack:
    """A stack with its calls, and with its handler if it has one.

    Args:
        handler_kind: what it is then.
        begins: the function that calls the handler.
    """
    found = [at for at, call in enumerate(calls) if call.code is begins]
    context: Any = calls[found[-1]].frame.f_locals.get("context") if found else None
    if isinstance(context, HandlerContext):
        stack.kind = handler_kind
        _describe(stack, context)
        # What weft does around a handler is of no interest, unless it has not got to the handler yet.
        inner = calls[found[-1] + 1 :]
        calls = [each for each in inner if each.code.co_filename != begins.co_filename] or calls
    for call in calls[-MAX_FRAMES:]:
        code = call.code
        stack.frames.add(file=code.co_filename, line=call.line, function=code.co_qualname)
    return stack


def _describe(stack: Stack, context: HandlerContext) -> None:
    assignment = context.assignment
    stack.method, stack.task_id, stack.attempt = assignment.method, assignment.task_id, assignment.attempt
    stack.cancelled = bool(context.cancel_signal)


def _of_isolated(dump: IsolatedDump) -> Iterator[Stack]:
    if dump.stacks is None:
        stack = Stack(kind=ISOLATED, process_id=dump.process_id)
        _describe(stack, dump.context)
        stack.missing = "the process does not answer: it is stopped, or code holds Python's lock"
        yield stack
        return
    for stack in dump.stacks:
        if stack.kind in (ASYNC, THREADED):
            stack.kind = ISOLATED
        yield stack


def _order(stack: Stack) -> tuple[int, float, str]:
    return _ORDER.index(stack.kind), -seconds(stack.running), stack.name
