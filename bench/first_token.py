"""How long the first token takes: from a server of models itself, and through a mesh. `PYTHONPATH=tests/support/gen python -m bench.first_token`.

The server is llama.cpp's, with a model of random weights that is large enough to take a while. Both ways are asked in turn, each time with a prompt that
the server has not seen, since it keeps what it has read.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio
import openai

from tests.support.llama_server import LlamaServer
from tests.support.mesh import MeshHarness
from weft.services.models.v1 import models_pb2, models_pb2_grpc
from weft.v1 import coordinator_pb2

WINDOW = 8192
_BASE = "the server itself"
_COLD = 5


Ask = Callable[[str], Awaitable[None]]


def by_openai(client: openai.AsyncOpenAI) -> Ask:
    """Ask the server itself."""

    async def ask(prompt: str) -> None:
        stream = await client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": prompt}],
            max_tokens=2,
            stream=True,
        )
        async with stream:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    return

    return ask


def by_chat(channel: grpc.aio.Channel, mode: str) -> Ask:
    """Ask by the service's `Chat`."""
    stub = models_pb2_grpc.ModelServiceStub(channel)

    async def ask(prompt: str) -> None:
        message = models_pb2.ChatMessage(role=models_pb2.ROLE_USER, content=prompt)
        request = models_pb2.ChatRequest(messages=[message], sampling={"max_tokens": 2})
        call = stub.Chat(request, metadata=(("weft-mode", mode),), timeout=60)
        async for piece in call:
            if piece.content:
                call.cancel()
                return

    return ask


async def measure(ways: dict[str, Ask], rounds: int, prompt_tokens: int) -> dict[str, list[float]]:
    """Seconds to the first token by each way, after some rounds that do not count."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + _COLD):
        # Each way comes first, second and so on as often as every other: what is left of one call is paid by the next.
        order = list(ways.items())
        order = order[number % len(order) :] + order[: number % len(order)]
        if number // len(order) % 2:
            order.reverse()
        for at, (name, ask) in enumerate(order):
            prompt = f"{number * 10 + at} " + "word " * (prompt_tokens // 5)
            began = time.perf_counter()
            await ask(prompt)
            if number >= _COLD:
                took[name].append(time.perf_counter() - began)
            # Its second token, which nobody waits for.
            await asyncio.sleep(0.02)
    return took


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", type=int, default=2000, help="tokens of a prompt, about")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--width", type=int, default=256)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with LlamaServer(folder, width=given.width, layers=8, window=WINDOW) as llama:
            async with MeshHarness(folder) as mesh:
                await mesh.coordinator()
                env = {"WEFT_MODELS_BACKENDS": f"b=openai+{llama.url}", "WEFT_MODELS_MODELS": "b/tiny"}
                await mesh.agent("a", program="", services="models", env=env)
                listed = await mesh.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)
                client = openai.AsyncOpenAI(base_url=llama.url, api_key="none", max_retries=0)
                async with grpc.aio.insecure_channel(listed.agents[0].advertised_address) as port:
                    ways = {
                        _BASE: by_openai(client),
                        "Chat, at the agent's port": by_chat(port, "direct"),
                        "Chat, through the coordinator": by_chat(mesh.channel(), "direct"),
                        "Chat, as a task": by_chat(mesh.channel(), "durable"),
                    }
                    took = await measure(ways, given.rounds, given.prompt)
    base = statistics.median(took[_BASE])
    for name, times in took.items():
        median = statistics.median(times)
        print(
            f"{name:30} p50 {median * 1e3:7.2f} ms  +{(median - base) * 1e3:6.2f} ms  x {median / base:5.2f}"
        )


if __name__ == "__main__":
    asyncio.run(main())
