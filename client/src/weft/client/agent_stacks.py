"""What an agent is doing, at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.client.task_snapshot import OpenEnum
from weft.rpc.times import seconds
from weft.v1 import command_pb2


class StackKind(OpenEnum):
    """What a stack belongs to. The numbers are those of `weft.v1.StackKind`."""

    UNSPECIFIED = 0
    ASYNC_HANDLER = 1
    THREAD_HANDLER = 2
    ISOLATED_HANDLER = 3
    # An asyncio task, or a thread, that runs no handler.
    TASK = 4
    THREAD = 5


@dataclass(frozen=True, slots=True)
class StackFrame:
    """One call of a stack."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class ProgramStack:
    """What a handler, an asyncio task or a thread is doing."""

    kind: StackKind
    # Of the thread or the task.
    name: str
    process_id: int
    # Outermost first.
    frames: Sequence[StackFrame]
    # It runs now, on the event loop.
    active: bool = False
    # Of a handler. A direct call has an id in the task's place.
    method: str = ""
    task_id: str = ""
    attempt: int = 0
    # Of a direct call it is not known.
    running_s: float | None = None
    # It was told to end.
    cancelled: bool = False
    # Why there are no frames.
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """A process that an agent or its handlers have started."""

    process_id: int
    parent_id: int
    name: str
    state: str
    cpu_s: float
    memory_bytes: int
    age_s: float


@dataclass(frozen=True, slots=True)
class AgentStacks:
    """An agent's stacks: those of handlers first, the longest-running one before others."""

    process_id: int
    stacks: Sequence[ProgramStack]
    children: Sequence[ChildProcess]
    # For so long something has blocked its event loop; 0: nothing does.
    loop_blocked_s: float = 0.0
    # Stacks that were too many for one answer.
    left_out: int = 0

    @classmethod
    def of(cls, dump: command_pb2.StackDump) -> AgentStacks:
        return cls(
            dump.process_id,
            [_stack(each) for each in dump.stacks],
            [_child(each) for each in dump.children],
            seconds(dump.loop_blocked),
            dump.left_out,
        )


def _stack(stack: command_pb2.ProgramStack) -> ProgramStack:
    return ProgramStack(
        kind=StackKind(stack.kind),
        name=stack.name,
        process_id=stack.process_id,
        frames=[StackFrame(each.file, each.line, each.function) for each in stack.frames],
        active=stack.active,
        method=stack.method,
        task_id=stack.task_id,
        attempt=stack.attempt,
        running_s=seconds(stack.running) if stack.HasField("running") else None,
        cancelled=stack.cancelled,
        missing=stack.missing,
    )


def _child(child: command_pb2.ChildProcess) -> ChildProcess:
    return ChildProcess(
        child.process_id,
        child.parent_id,
        child.name,
        child.state,
        seconds(child.cpu_time),
        child.memory_bytes,
        seconds(child.age),
    )
