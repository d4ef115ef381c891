"""AMQP messages as tasks, and tasks' ends as replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from probe.v1 import probe_pb2
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from weft.cli.bridge.amqp_messages import (
    JSON,
    PROTOBUF,
    Delivered,
    NotATask,
    Rules,
    header_key,
    read_message,
    refusal_reply,
    response_of,
)
from weft.client import Task
from weft.rpc.contracts.contract_reader import ResolvedMethod
from weft.v1 import fleet_pb2, task_pb2

CALL = ResolvedMethod(
    name="probe.v1.ProbeService/Call",
    kind=fleet_pb2.METHOD_KIND_UNARY,
    request_class=ProbeRequest,
    response_class=ProbeReply,
    pool=probe_pb2.DESCRIPTOR.pool,
)
RULES = Rules("main/vhost/orders", {"": CALL}, headers=("X-Tenant",))
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Message:
    """A message as a broker gives it."""

    body: bytes = b'{"text": "a"}'
    routing_key: str | None = "orders"
    message_id: str | None = "m-1"
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    expiration: Any = None


def test_a_message_is_a_task() -> None:
    order = read_message(
        Message(
            priority=200,
            expiration=1.5,
            headers={"X-Tenant": "acme", "X-Other": object(), "traceparent": PARENT, "tracestate": "a=b"},
        ),
        RULES,
    )
    assert ProbeRequest.FromString(order.payload).text == "a"
    assert order.request_id == "amqp/main/vhost/orders/m-1"
    assert (order.method, order.content_type) == (CALL, JSON)
    assert order.options == {"priority": 9, "schedule_to_start_s": 1.5, "metadata": [("x-tenant", "acme")]}
    assert (order.traceparent, order.tracestate) == (PARENT, "a=b")


def test_protobuf_goes_as_it_is() -> None:
    order = read_message(Message(b"\xff", content_type="application/protobuf; a=b"), RULES)
    assert (order.payload, order.content_type) == (b"\xff", PROTOBUF)
    without = Rules("p", {"": CALL}, body=PROTOBUF)
    assert read_message(Message(b"\xff", content_type="application/octet-stream"), without).payload == b"\xff"


def test_what_names_a_message() -> None:
    assert read_message(Message(), Rules("p", {"": CALL}, id_from="none")).request_id is None
    by = Rules("p", {"": CALL}, id_from="correlation-id")
    assert read_message(Message(correlation_id="c"), by).request_id == "amqp/p/c"
    long = {read_message(Message(message_id=each), RULES).request_id for each in ("x" * 200, "y" * 200, "ü")}
    assert len(long) == 3
    assert all(each is not None and len(each) <= 128 and each.isascii() for each in long)


def test_routing_keys_choose() -> None:
    rules = Rules("p", {"call": CALL})
    assert read_message(Message(routing_key="call"), rules).method is CALL
    with pytest.raises(NotATask, match="no method is for the routing key 'other'; methods are for call"):
        read_message(Message(routing_key="other"), rules)


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (Message(b"{"), "INVALID_ARGUMENT", "JSON"),
        (Message(b"\xff"), "NOT_JSON", "not UTF-8 from byte 0"),
        (Message(b'{"nope": 1}'), "INVALID_ARGUMENT", "nope"),
        (Message(message_id=None), "NO_ID", "no message_id"),
        (Message(message_id=""), "NO_ID", "--id"),
        (Message(content_type="text/html"), "CONTENT_TYPE", "'text/html' is not read"),
        (Message(content_encoding="gzip"), "CONTENT_ENCODING", "'gzip'"),
        (Message(expiration="soon"), "EXPIRATION", "'soon'"),
        (Message(expiration=float("nan")), "EXPIRATION", "nan"),
        (Message(expiration=-1), "EXPIRATION", "-1 s"),
        (Message(headers={"X-Tenant": "ü"}), "HEADERS", "printable ASCII"),
        (Message(headers={"X-Tenant": ["a"]}), "HEADERS", "neither text nor bytes"),
        (Message(headers={"X-Tenant": "x" * 5000}), "HEADERS", "4096 bytes"),
    ],
)
def test_what_can_never_be_a_task(message: Delivered, reason: str, words: str) -> None:
    with pytest.raises(NotATask) as refused:
        read_message(message, RULES)
    assert refused.value.reason == reason
    assert words in refused.value.message
    told = json.loads(refusal_reply(refused.value.error(), message, RULES).body)
    assert told == {
        "code": "INVALID_ARGUMENT",
        "message": refused.value.message,
        "reason": "PAYLOAD_MALFORMED",
    }


TEXTS = st.none() | st.text(max_size=200)


@given(
    st.builds(
        Message,
        body=st.binary(max_size=100),
        routing_key=TEXTS,
        message_id=TEXTS,
        content_type=TEXTS,
        content_encoding=TEXTS,
        headers=st.dictionaries(
            st.sampled_from(["X-Tenant", "traceparent", "tracestate"]),
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.text(),
                st.binary(),
                st.lists(st.text()),
            ),
        ),
        priority=st.none() | st.integers(-5, 300),
        expiration=st.one_of(st.none(), st.floats(), st.text(), st.binary()),
    )
)
def test_any_message_is_a_task_or_refused(message: Message) -> None:
    try:
        order = read_message(message, RULES)
    except NotATask as error:
        refused = error
    else:
        assert order.request_id is not None
        assert len(order.request_id) <= 128
        return
    assert refused.reason
    assert refused.message


def ended(**outcome: Any) -> Task:
    state = task_pb2.TASK_STATE_FAILED if "status" in outcome else task_pb2.TASK_STATE_SUCCEEDED
    return Task(task_pb2.Task(id="t1", method=CALL.name, state=state, outcome=task_pb2.Outcome(**outcome)))


def test_an_end_is_a_reply() -> None:
    order = read_message(Message(), RULES)
    reply = response_of(ended(response=ProbeReply(text="a").SerializeToString()), order)
    assert json.loads(reply.body)["text"] == "a"
    assert (reply.kind, reply.message_id, reply.content_type) == ("weft.response", "t1", JSON)
    assert reply.headers == {"weft-task-id": "t1", "weft-method": CALL.name}
    failed = ended(status=status_pb2.Status(code=5, message="no such order"))
    reply = response_of(failed, order)
    assert json.loads(reply.body) == {"code": "NOT_FOUND", "message": "no such order"}
    assert (reply.kind, reply.headers["weft-code"]) == ("weft.error", "NOT_FOUND")
    binary = read_message(Message(b"", content_type=PROTOBUF), RULES)
    reply = response_of(failed, binary)
    assert status_pb2.Status.FromString(reply.body).message == "no such order"


@pytest.mark.parametrize("name", ["weft-request-id", "traceparent", "grpc-timeout", "a b", "", "ü"])
def test_headers_that_no_handler_gets(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        header_key(name)
