"""An agent with memory: a call of a sticky session tells the process that runs it, and how many calls of that session it has had.

`weft agent tests.support.remembering:agent` hosts it.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import grpc

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.probe import ProbeService
from weft.agent import Agent, current_task

_remembered: Counter[str] = Counter()


class Remembering(ProbeService):
    """Its calls answer "PID COUNT"."""

    async def Call(
        self, request: probe_pb2.ProbeRequest, context: grpc.aio.ServicerContext
    ) -> probe_pb2.ProbeReply:
        await asyncio.sleep(request.sleep_s)
        session = current_task().session
        _remembered[session] += 1
        return probe_pb2.ProbeReply(text=f"{os.getpid()} {_remembered[session]}")


agent = Agent()
agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, Remembering())
