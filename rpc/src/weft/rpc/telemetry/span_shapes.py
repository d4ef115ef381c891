"""The spans of weft: name, kind and attributes of each. docs/how-to/traces.md has the table.

METHOD              SERVER     a call at the coordinator, at a sidecar's egress, at an agent's own port
submit METHOD       PRODUCER   a task stored; of a bulk submission: one for all tasks of a message
wait METHOD         INTERNAL   from ready to claimed, one an attempt
process METHOD      CONSUMER   an attempt, at its agent
METHOD              CLIENT     a call passed on, by a sidecar to its app, or to an agent
"""

from __future__ import annotations

from functools import lru_cache

from weft.rpc.telemetry import attributes as names
from weft.rpc.telemetry.span_records import Kind, SpanShape, Value
from weft.rpc.telemetry.status_codes import code_name
from weft.v1 import session_pb2

# Far more than a process has methods and agents in use at a time.
_SHAPES = 8192
_CAUSES: dict[int, str] = {
    session_pb2.RERUN_CAUSE_FAILED: "failed",
    session_pb2.RERUN_CAUSE_LOST: "lost",
    session_pb2.RERUN_CAUSE_RELEASED: "released",
    session_pb2.RERUN_CAUSE_REQUESTED: "requested",
}


@lru_cache(_SHAPES)
def serve(method: str, agent_id: str = "") -> SpanShape:
    """A call that this process serves; `agent_id`: at an agent's own port."""
    return SpanShape(method, Kind.SERVER, _of_call(method) | _of_agent(agent_id))


@lru_cache(_SHAPES)
def passed_on(method: str) -> SpanShape:
    """A call that this process passes on."""
    return SpanShape(method, Kind.CLIENT, _of_call(method))


@lru_cache(_SHAPES)
def submit(method: str) -> SpanShape:
    """Tasks that are stored. A batch may have several methods: then "" is theirs."""
    name = f"submit {method}" if method else "submit"
    return SpanShape(name, Kind.PRODUCER, _of_call(method) | _of_task(method, names.SUBMIT, names.SEND))


@lru_cache(_SHAPES)
def wait(method: str) -> SpanShape:
    """The time from ready to claimed."""
    return SpanShape(f"wait {method}", Kind.INTERNAL, _of_call(method) | _of_destination(method))


@lru_cache(_SHAPES)
def process(method: str, agent_id: str) -> SpanShape:
    """An attempt at its agent."""
    shared = _of_call(method) | _of_task(method, names.PROCESS, names.PROCESS) | _of_agent(agent_id)
    return SpanShape(f"process {method}", Kind.CONSUMER, shared)


def _of_call(method: str) -> dict[str, Value]:
    system: dict[str, Value] = {names.RPC_SYSTEM_NAME: names.GRPC}
    return system | ({names.RPC_METHOD: method} if method else {})


def _of_destination(method: str) -> dict[str, Value]:
    system: dict[str, Value] = {names.MESSAGING_SYSTEM: names.WEFT}
    return system | ({names.MESSAGING_DESTINATION_NAME: method} if method else {})


def _of_task(method: str, name: str, kind: str) -> dict[str, Value]:
    operation: dict[str, Value] = {
        names.MESSAGING_OPERATION_NAME: name,
        names.MESSAGING_OPERATION_TYPE: kind,
    }
    return _of_destination(method) | operation


def _of_agent(agent_id: str) -> dict[str, Value]:
    return {names.AGENT_ID: agent_id} if agent_id else {}


def of_attempt(assignment: session_pb2.Assignment) -> dict[str, Value]:
    """The attributes of one attempt: the task, the number, and why it is not the first."""
    about: dict[str, Value] = {
        names.MESSAGING_MESSAGE_ID: assignment.task_id,
        names.TASK_ATTEMPT: assignment.attempt,
    }
    if assignment.HasField("rerun"):
        about |= of_rerun(assignment.rerun.cause, assignment.rerun.last_agent_id, assignment.rerun.last_code)
    return about


def of_rerun(cause: int, agent_id: str, code: int) -> dict[str, Value]:
    """Why a task runs again."""
    about: dict[str, Value] = {names.RERUN_CAUSE: _CAUSES.get(cause, str(cause))}
    if agent_id:
        about[names.RERUN_LAST_AGENT_ID] = agent_id
    if code:
        about[names.RERUN_LAST_STATUS_CODE] = code_name(code)
    return about
