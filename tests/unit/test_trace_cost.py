"""Without export nothing of a trace is made: counted, for a call, a direct call and a task in bulk, at all three ends."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from weft.agent import Agent
from weft.client import Method
from weft.testing import mesh_of

ECHO = Method.of("cost.v1.Cost/Echo", StringValue, StringValue)
OF_TRACES = re.compile(r"^weft\.(.*\.)?(traced?_|traces$|span_|otlp_|sampling$|\w*_spans$)")
# Each says whether there is anything to do, and there is not.
QUESTIONS = {"tracing", "is_traced", "current", "span_of", "exported", "begin"}
# Whether a span is active; asked where OpenTelemetry is loaded, as it is in agents.
QUESTIONS |= {"get_current", "get_current_span", "get_value", "get_span_context", "is_valid"}


async def asked(run: Callable[[], Awaitable[object]]) -> Counter[str]:
    """How often each function of traces is called while it runs, by weft or by OpenTelemetry."""
    found: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and (module.startswith("opentelemetry.") or OF_TRACES.search(module)):
            found[frame.f_code.co_name] += 1

    sys.setprofile(profile)
    try:
        await run()
    finally:
        sys.setprofile(None)
    return found


async def test_without_export_a_task_costs_questions_alone() -> None:
    agent = Agent("cost")

    async def echo(request: StringValue) -> StringValue:
        return request

    agent.method(ECHO.name)(echo)
    async with mesh_of(agent) as mesh:
        many = [StringValue(value=str(number)) for number in range(50)]

        async def bulk() -> None:
            assert len([done async for done in mesh.tasks.run_many(ECHO, many)]) == 50

        def call(channel: Any) -> Callable[[], Awaitable[object]]:
            stub = channel.unary_unary(f"/{ECHO.name}", StringValue.SerializeToString, StringValue.FromString)
            return lambda: stub(StringValue(value="x"), timeout=20)

        ways = {
            "call": (call(mesh.channel()), 1),
            "direct": (call(mesh.channel(direct=True)), 1),
            "bulk": (bulk, 50),
        }
        for way, (run, tasks) in ways.items():
            await run()
            counts = await asked(run)
            assert counts, way
            assert set(counts) <= QUESTIONS, (way, counts)
            # The agent's own question is the only one for each task of many.
            assert counts["tracing"] <= tasks, (way, counts)
            assert sum(counts.values()) <= 2 * tasks + 12, (way, counts)
