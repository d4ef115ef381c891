"""Messages of sessions: what agents say to coordinators, what coordinators say to agents, and results."""

from __future__ import annotations

import contextlib
import functools
import math

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from tests.fuzz.target import target
from weft.agent.handlers import process_messages
from weft.agent.hosting import function_messages
from weft.coordinator.sessions import hello
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store import history
from weft.coordinator.store.paging import ListFilter, _failed_so, _is_below
from weft.coordinator.store.records import AttemptRecord, Owner
from weft.rpc import errors, raised
from weft.rpc.calls import answer_size
from weft.rpc.errors import WeftError
from weft.rpc.operators import channelz_service
from weft.rpc.payloads import coded_failure, compression
from weft.rpc.payloads.payload_coder import PayloadCoder
from weft.rpc.payloads.payload_options import Payloads
from weft.services.sandboxes import box_answers, e2b_box, kubernetes_spec
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.services.sandboxes.v1 import sandboxes_pb2
from weft.v1 import errors_pb2, fleet_pb2, payload_pb2, session_pb2, task_pb2


def _hello(**fields: object) -> session_pb2.Hello:
    given = {"agent_id": "a", "instance_id": "i", "slots": 2, "contract_hash": "0" * 64, **fields}
    return session_pb2.Hello(methods=[fleet_pb2.HostedMethod(name="a.v1.S/M", slot_cost=1)], **given)  # type: ignore[arg-type]


@functools.cache
def _hellos() -> list[bytes]:
    return [
        session_pb2.ConnectRequest(hello=each).SerializeToString()
        for each in (
            _hello(labels={"zone": "eu"}, resources={"gpu": 1.0}),
            _hello(resources={"gpu": math.nan}, advertised_address="10.0.0.1:1", version="1"),
            _hello(held=[session_pb2.HeldAttempt(task_id="t", attempt=1)], prefetch=3),
        )
    ]


@target("weft/coordinator/sessions/hello", seeds=_hellos, raises=(DecodeError,))
def session_hello(data: bytes) -> None:
    message = session_pb2.ConnectRequest.FromString(data)
    given = hello.checked(message.hello)
    assert fleet_pb2.Agent.FromString(hello.describe(given).SerializeToString()).id == given.agent_id


@functools.cache
def _reports() -> list[bytes]:
    return [
        session_pb2.AgentReport(sequence=3, stuck_slots=1, direct_slots=2, draining=True).SerializeToString(),
        session_pb2.AgentReport(
            load=type(session_pb2.AgentReport().load)(backlog_slots=math.nan), unavailable_services=["a.v1.S"]
        ).SerializeToString(),
    ]


@target("weft/coordinator/sessions/agent_session", seeds=_reports, raises=(DecodeError,))
def heartbeat(data: bytes) -> None:
    """Whatever an agent reports, what is left of it is a number."""
    session = AgentSession(_hello(resources={"gpu": 2.0}), Owner("a", 1), 0.0)
    session.take_heartbeat(session_pb2.AgentReport.FromString(data))
    assert math.isfinite(session.load_for("a.v1.S/M"))
    assert isinstance(session.free_slots, int)
    session.room(all_slots=True)


@functools.cache
def _outcomes() -> list[bytes]:
    failed = errors.Internal("no", reason=errors_pb2.ERROR_REASON_HANDLER_FAILED).status()
    return [
        task_pb2.Outcome(
            response=b"x", trailers=[task_pb2.Metadatum(key="a", value=b"b")]
        ).SerializeToString(),
        task_pb2.Outcome(
            status=failed, error=task_pb2.HandlerError(type="E", message="m" * 3000, stack="s" * 9000)
        ).SerializeToString(),
    ]


@target(
    "weft/coordinator/store/history",
    "weft/coordinator/store/paging",
    "weft/rpc/calls/answer_size",
    "weft/rpc/raised",
    seeds=_outcomes,
    raises=(DecodeError,),
)
def outcome(data: bytes) -> None:
    """What an attempt ended with: bounded, kept in the history, and read again."""
    found = task_pb2.Outcome.FromString(data)
    answer_size.fit(found)
    raised.bound(found.error)
    raised.summary(found.error)
    code = found.status.code
    kept = AttemptRecord(1, "a", 1.0, 2.0, history.trimmed(code, found.SerializeToString()))
    stored = history.encode([kept])
    assert [each.number for each in history.decode(stored)] == [1]
    where = ListFilter(error_codes=frozenset({13}), error_reason="HANDLER_FAILED", error_text="m")
    _failed_so(where, data)
    _is_below("r", data)


@functools.cache
def _coder() -> PayloadCoder:
    return PayloadCoder(Payloads(compression="zlib", max_bytes=1 << 20))


def _coded(message: bytes) -> bytes:
    return _coder().encode(message, payload_pb2.PAYLOAD_KIND_REQUEST, "a.v1.S/M")


@target(
    "weft/rpc/payloads/payload_coder",
    "weft/rpc/payloads/coded_failure",
    "weft/rpc/payloads/envelope",
    seeds=lambda: [_coded(b"x" * 2000), _coded(b"abc"), _coded(bytes(200_000))],
)
def coded_message(data: bytes) -> None:
    """What comes out of it is no more than it says, and than is allowed."""
    found = _coder().decode(data, payload_pb2.PAYLOAD_KIND_REQUEST, ["a.v1.S/M"])
    assert len(found) <= _coder().max_bytes
    status = status_pb2.Status(code=13)
    status.details.add().Pack(payload_pb2.CodedFailure(coded=data))
    with contextlib.suppress(WeftError):
        coded_failure.decoded(_coder(), status, ["a.v1.S/M"])


@target(
    "weft/rpc/payloads/compression",
    seeds=lambda: [b"".join(compression.compress(each, [b"x" * 5000])) for each in compression.NAMES],
    raises=(compression.Undecodable,),
)
def compressed(data: bytes) -> None:
    for name in compression.NAMES:
        with contextlib.suppress(compression.Undecodable):
            assert sum(map(len, compression.decompress(name, [data], 10_000))) <= 10_000


@target(
    "weft/rpc/operators/channelz_service",
    seeds=lambda: [b"\x08\x01", b"\x08\x00\x10\x05", b""],
    raises=(channelz_service._Refused,),
)
def channelz_question(data: bytes) -> None:
    for question in channelz_service._QUESTIONS.values():
        with contextlib.suppress(channelz_service._Refused):
            channelz_service._answer(question, data)


@target(
    "weft/agent/hosting/function_messages",
    seeds=lambda: [
        json_format.ParseDict({"a": [1, {"b": None}], "c": "d"}, struct_pb2.Struct()).SerializeToString()
    ],
    raises=(DecodeError, function_messages.InvalidFields),
)
def function_call(data: bytes) -> None:
    """The arguments of a function, which are a Struct."""
    assert isinstance(function_messages._dict_of(data), dict)


@functools.cache
def _process_messages() -> list[bytes]:
    return [
        process_messages.encode(each) for each in (("ready",), ("log", 20, "a.b", {"x": 1}), ("done", b"\n"))
    ]


@target(
    "weft/agent/handlers/process_messages", seeds=_process_messages, raises=(process_messages.BadMessage,)
)
def isolated_message(data: bytes) -> None:
    message = process_messages.decode(data)
    assert isinstance(message, tuple)


@functools.cache
def _sandbox_answers() -> list[bytes]:
    return [
        b'{"id": 1, "exit": 0}',
        b'{"size": 3}\nabc',
        b'{"files": [["a", 1, "file", 1.5]], "more": true}\n',
    ]


@target("weft/services/sandboxes/box_answers", seeds=_sandbox_answers, raises=(BoxError,))
def sandbox_answer(data: bytes) -> None:
    with contextlib.suppress(BoxError):
        for each in box_answers.read_folder(data, 10)[0]:
            sandboxes_pb2.File(name=each.name, size_bytes=each.size_bytes).changed_at.FromSeconds(
                int(each.changed_at_s)
            )
    message = box_answers.read_message(data)
    assert message is None or "id" in message
    assert box_answers.read_sized(data)[1] >= 0


@target("weft/services/sandboxes/e2b_box", seeds=lambda: [b"aGVsbG8=", b"no base64", b""])
def output_told_by_e2b(data: bytes) -> None:
    assert isinstance(e2b_box.part_of(data.decode("latin-1")), bytes)


@target(
    "weft/services/sandboxes/kubernetes_spec",
    seeds=lambda: [
        b'{"status": "Success"}',
        b'{"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}',
        b'{"status": "Failure", "reason": "InternalError", "message": "no such file"}',
        b"2026-11-30T20:00:00Z",
    ],
)
def end_told_by_a_cluster(data: bytes) -> None:
    assert isinstance(kubernetes_spec.status_of(data), int | BoxError)
    for at in kubernetes_spec.made_at({"a": data.decode("latin-1")}).values():
        assert at.tzinfo is not None
