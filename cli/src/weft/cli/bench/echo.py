"""The measured agent: it returns each request."""

from google.protobuf.wrappers_pb2 import BytesValue

from weft.agent import Agent
from weft.cli.bench.bench_subject import METHOD

agent = Agent()


@agent.method(METHOD)
async def echo(request: BytesValue) -> BytesValue:
    return request
