"""What an agent is doing, as `weft agents stacks` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from weft.cli.terminal.moments import size, span
from weft.cli.terminal.output import Styled, StyledText

if TYPE_CHECKING:
    from weft.client import AgentStacks, ChildProcess, ProgramStack

_WHERE = {
    "ASYNC_HANDLER": "on the event loop",
    "THREAD_HANDLER": "in a thread",
    "ISOLATED_HANDLER": "in process {}",
}


def stacks_document(stacks: AgentStacks) -> dict[str, Any]:
    """All of it as JSON."""
    document = asdict(stacks)
    for each in document["stacks"]:
        each["kind"] = each["kind"].name
    return document


def stack_lines(agent_id: str, stacks: AgentStacks, *, full: bool) -> Iterator[StyledText]:
    """The handlers and the child processes; with `full` all threads and asyncio tasks, too."""
    yield (Styled(agent_id, "bold"), f"  process {stacks.process_id}")
    if stacks.loop_blocked_s:
        yield Styled(
            f"  its event loop has been blocked for {span(stacks.loop_blocked_s)}: nothing else async runs",
            "red",
        )
    handlers = [each for each in stacks.stacks if each.kind.name in _WHERE]
    others = [each for each in stacks.stacks if each.kind.name not in _WHERE]
    if not handlers:
        yield "  no handler runs"
    for stack in handlers if not full else [*handlers, *others]:
        yield from _stack(stack)
    for child in stacks.children:
        yield f"  {_child(child)}"
    if stacks.left_out:
        yield f"  {stacks.left_out} more stacks were left out"
    if others and not full:
        yield f"  and {len(others)} threads and asyncio tasks that run no handler (--full)"


def _stack(stack: ProgramStack) -> Iterator[StyledText]:
    if where := _WHERE.get(stack.kind.name):
        facts = [f"{stack.task_id}" + (f" attempt {stack.attempt}" if stack.attempt else "")]
        facts += [f"running {span(stack.running_s)}"] if stack.running_s is not None else []
        facts += [where.format(stack.process_id)]
        facts += ["cancelled"] if stack.cancelled else []
        facts += ["now"] if stack.active else []
        yield ("  ", Styled(stack.method, "bold"), f"  {', '.join(facts)}")
    else:
        kind = "thread" if stack.kind.name == "THREAD" else "asyncio task"
        yield f"  {kind} {stack.name}" + (", now" if stack.active else "")
    if stack.missing:
        yield f"    no calls: {stack.missing}"
    for frame in stack.frames:
        yield f"    {frame.function}  {frame.file}:{frame.line}"


def _child(child: ChildProcess) -> str:
    return (
        f"child process {child.process_id} {child.name} of {child.parent_id}: {child.state}, {span(child.age_s)} old,"
        f" {span(child.cpu_s)} of CPU, {size(child.memory_bytes)}"
    )
