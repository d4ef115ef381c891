"""The measured agent: it returns each request."""

from typing import Any

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue

from weft.agent import Agent
from weft.cli.bench.bench_subject import METHOD, RULED_METHOD
from weft.cli.bench.ruled_echo import ruled_value

agent = Agent()


@agent.method(METHOD)
async def echo(request: BytesValue) -> BytesValue:
    return request


async def echo_ruled(request: Message) -> Message:
    return request


_messages: dict[str, Any] = dict.fromkeys(("request", "return"), ruled_value())
echo_ruled.__annotations__ = _messages
agent.method(RULED_METHOD)(echo_ruled)
