"""An agent that breaks one rule of the session, for tests of `weft conformance`: `python -m tests.support.broken_agent R11`.

The agent itself is the Python one. FAULTS changes its messages, or those that it receives, at the edge of its stream:
each entry breaks the rule of its name.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import code_pb2
from grpc import aio

from weft.agent.session import connector, outbox, session_stream
from weft.cli.conformance.example_agent import agent
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2_grpc, session_pb2

Request = session_pb2.ConnectRequest
Response = session_pb2.ConnectResponse

# Over all streams.
_seen: set[Any] = set()


def _twice(key: object) -> bool:
    again = key in _seen
    _seen.add(key)
    return again


def _keep(items: Any, wanted: Callable[[Any], bool]) -> None:
    kept = [item for item in items if wanted(item)]
    del items[:]
    items.extend(kept)


# -- what the agent says: changed in place ------------------------------------------------------------------------------


def hello_again(message: Request) -> None:
    if message.HasField("state"):
        message.hello.agent_id = "again"


def no_slots(message: Request) -> None:
    message.hello.slots = 0


def other_instance(message: Request) -> None:
    message.hello.instance_id = secrets.token_hex(8)


def contract_unasked(message: Request) -> None:
    if message.HasField("state"):
        message.contract.file_descriptor_set = b"unasked"


def other_hash(message: Request) -> None:
    message.hello.contract_hash = "0" * 64


def same_sequence(message: Request) -> None:
    if message.HasField("state"):
        message.state.sequence = 1


def results_twice(message: Request) -> None:
    message.results.extend(list(message.results))


def without_details(message: Request) -> None:
    for result in message.results:
        del result.outcome.status.details[:]


def unknown_unanswered(message: Request) -> None:
    _keep(message.results, lambda result: result.outcome.status.code != code_pb2.UNIMPLEMENTED)


def fewer_slots(message: Request) -> None:
    message.hello.slots -= 1


def results_once(message: Request) -> None:
    _keep(message.results, lambda result: not _twice((result.task_id, result.attempt)))


def unfinished_only(message: Request) -> None:
    _keep(message.hello.held, lambda held: not held.finished)


def from_zero(message: Request) -> None:
    for progress in message.progress:
        progress.index -= 1


def progress_once(message: Request) -> None:
    _keep(message.progress, lambda each: not _twice((each.task_id, each.index)))


def no_goodbye(message: Request) -> None:
    message.ClearField("goodbye")


# -- what it is told ----------------------------------------------------------------------------------------------------


def start_again(message: Response) -> None:
    for assignment in message.assignments:
        if _twice(assignment.task_id):
            assignment.attempt += 100


def endless(message: Response) -> None:
    for assignment in message.assignments:
        assignment.ClearField("time_left")


def by_the_clock(message: Response) -> None:
    for assignment in message.assignments:
        if assignment.HasField("deadline"):
            left_s = assignment.deadline.ToMicroseconds() / 1e6 - time.time()
            assignment.time_left.CopyFrom(duration(max(0.0, left_s)))


def cancels_first(message: Response) -> None:
    if message.assignments:
        del message.cancels[:]


def no_metadata(message: Response) -> None:
    for assignment in message.assignments:
        assignment.ClearField("context")


def no_limit(message: Response) -> None:
    message.welcome.max_response_bytes = 4 * 1024 * 1024


def strict(message: Response) -> None:
    if len(UnknownFieldSet(message)):
        os._exit(3)


def deaf_to_acks(message: Response) -> None:
    del message.result_acks[:]


def drop_adopted(message: Response) -> None:
    message.welcome.lost.extend(message.welcome.adopted)
    del message.welcome.adopted[:]


def adopt_lost(message: Response) -> None:
    message.welcome.adopted.extend(message.welcome.lost)
    del message.welcome.lost[:]


def deaf_to_cancels(message: Response) -> None:
    del message.cancels[:]


def endless_grace(message: Response) -> None:
    for cancel in message.cancels:
        cancel.grace.CopyFrom(duration(60.0))


def any_attempt(message: Response) -> None:
    for cancel in message.cancels:
        cancel.attempt = 2


def keep_lost(message: Response) -> None:
    _keep(message.cancels, lambda cancel: not cancel.lost)


def deaf_to_wishes(message: Response) -> None:
    message.ClearField("desired_state")


# Rule -> the changed messages (by the part that they must have; empty: all), and the change.
SAYS: dict[str, tuple[str, Callable[[Request], None]]] = {
    "R1": ("", hello_again),
    "R2": ("hello", no_slots),
    "R4": ("hello", other_instance),
    "R5": ("", contract_unasked),
    "R6": ("hello", other_hash),
    "R7": ("", same_sequence),
    "R12": ("", results_twice),
    "R13": ("", without_details),
    "R14": ("", unknown_unanswered),
    "R15": ("hello", fewer_slots),
    "R22": ("", results_once),
    "R24": ("hello", unfinished_only),
    "R27": ("", from_zero),
    "R28": ("", progress_once),
    "R36": ("", no_goodbye),
}
HEARS: dict[str, tuple[str, Callable[[Response], None]]] = {
    "R11": ("", start_again),
    "R16": ("", endless),
    "R17": ("", by_the_clock),
    "R18": ("", cancels_first),
    "R19": ("", no_metadata),
    "R20": ("welcome", no_limit),
    "R21": ("", strict),
    "R23": ("", deaf_to_acks),
    "R25": ("welcome", drop_adopted),
    "R26": ("welcome", adopt_lost),
    "R30": ("", deaf_to_cancels),
    "R31": ("", endless_grace),
    "R32": ("", deaf_to_cancels),
    "R33": ("", any_attempt),
    "R34": ("", keep_lost),
    "R35": ("", deaf_to_wishes),
}
# Rules that are broken by the end of streams.
ENDS = ("R3", "R8", "R9", "R10")
# A bound that the agent does not keep.
BOUNDS = ("R29",)
FAULTS = (*SAYS, *HEARS, *ENDS, *BOUNDS)


class BrokenStub:
    """The session's stub, with the fault in it."""

    fault = ""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)

    def Connect(self) -> Any:
        return BrokenCall(self._stub.Connect(), self.fault)


class BrokenCall:
    def __init__(self, call: Any, fault: str) -> None:
        self._call = call
        self._fault = fault
        self.cancel = call.cancel
        self.done_writing = call.done_writing

    async def write(self, message: Request) -> None:
        part, change = SAYS.get(self._fault, ("", lambda _: None))
        if not part or message.HasField(part):  # type: ignore[arg-type]
            change(message)
        await self._call.write(message)
        if self._fault == "R3" and message.HasField("hello"):
            await self._call.write(Request(state=session_pb2.AgentReport(sequence=1)))

    async def read(self) -> Any:
        part, change = HEARS.get(self._fault, ("", lambda _: None))
        try:
            message = await self._call.read()
        except grpc.RpcError as error:
            if self._fault == "R9" and error.code() is grpc.StatusCode.ALREADY_EXISTS:
                os._exit(3)
            raise
        if message is not aio.EOF and (not part or message.HasField(part)):
            change(message)
        return message


def main(fault: str) -> None:
    assert fault in FAULTS, fault
    BrokenStub.fault = fault
    session_stream.coordinator_pb2_grpc = type("Broken", (), {"CoordinatorServiceStub": BrokenStub})  # type: ignore[assignment]
    if fault == "R8":
        session_stream.MISSED_ECHOES = 1_000_000
    if fault == "R10":
        connector._PERMANENT = ()  # type: ignore[assignment]
    if fault == "R29":
        outbox.PROGRESS_WINDOW = 1_000_000
    agent.run()


if __name__ == "__main__":
    main(sys.argv[1])
