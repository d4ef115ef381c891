"""The program of a deployment's agents: the probe service, and methods with a fallback, a cache and a group's end.

weft agent tests.chaos.harness.hosted:agent
"""

from __future__ import annotations

from typing import Any

# Makes the generated code of the tests' protos importable.
from tests.support import probe

# isort: split
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from probe.v1.probe_pb2_grpc import add_ProbeServiceServicer_to_server
from tests.chaos.harness.chain import (
    CACHE_S,
    CACHED,
    DELIVERED,
    FALLEN,
    FIRST,
    GATHERED,
    SECOND,
    second_ledger,
)
from weft.agent import Agent
from weft.client import RetryPolicy

_service = probe.ProbeService()
# More crashes than the chaos can cause: a crash loop would be an outcome, but not the request's own.
_RETRY = RetryPolicy(max_attempts=2, initial_backoff_s=0.02, max_crashes=100)

agent = Agent()
agent.add_servicer(add_ProbeServiceServicer_to_server, _service)


@agent.method(FIRST, retry=_RETRY, fallback=SECOND)
async def first(request: ProbeRequest, context: Any) -> ProbeReply:
    return await _service.Call(request, context)


@agent.method(SECOND, retry=_RETRY)
async def second(request: ProbeRequest, context: Any) -> ProbeReply:
    """Succeeds, whatever the request says."""
    request.ClearField("fail_code")
    own = ProbeRequest(text=request.text, ledger=second_ledger(request.ledger))
    probe.begin(own)
    try:
        reply = await _service.Call(request, context)
    finally:
        probe.note(own, "end")
    reply.index = FALLEN
    return reply


@agent.method(CACHED, retry=_RETRY, cache_s=CACHE_S)
async def cached(request: ProbeRequest, context: Any) -> ProbeReply:
    return await _service.Call(request, context)


@agent.method(GATHERED, retry=_RETRY)
async def gathered(request: ProbeRequest, context: Any) -> ProbeReply:
    return await _service.Call(request, context)


@agent.method(DELIVERED, retry=_RETRY)
async def delivered(request: ProbeRequest, context: Any) -> ProbeReply:
    return await _service.Call(request, context)
