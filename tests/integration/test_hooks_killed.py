"""Kills of the coordinator at any moment: an acknowledged webhook has its one task, and every event reaches the receiver of an outgoing hook."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from aiohttp import web

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.mesh import MeshHarness
from tests.support.receiver import Receiver
from weft.v1 import coordinator_pb2 as api
from weft.v1 import event_pb2, event_pb2_grpc, hook_pb2, hook_pb2_grpc

SECRET = "a-secret-of-16-or-more"
CALL = "probe.v1.ProbeService/Call"
TOPIC = "probe.v1.ProbeRequest"
KILLS = 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def create(mesh: MeshHarness, name: str, **spec: Any) -> None:
    stub = hook_pb2_grpc.HookServiceStub(mesh.channel())
    secret = "" if "outgoing" in spec else SECRET
    await stub.CreateHook(hook_pb2.CreateHookRequest(name=name, spec=spec, secret=secret), timeout=20)


async def kill_now_and_then(mesh: MeshHarness, rng: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.2, 0.6))
        await mesh.restart_coordinator()


async def deliver(http: aiohttp.ClientSession, url: str, body: bytes) -> str:
    """As a sender does: until it is taken. The id of the task."""
    headers = {"X-Signature": hmac.digest(SECRET.encode(), body, "sha256").hex()}
    async with asyncio.timeout(60):
        while True:
            try:
                async with http.post(url, data=body, headers=headers) as response:
                    if response.status == 200:
                        return str((await response.json())["task_id"])
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_an_acknowledged_webhook_is_one_task(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    port = free_port()
    async with MeshHarness(tmp_path) as mesh, aiohttp.ClientSession() as http:
        await mesh.coordinator(hooks=f"127.0.0.1:{port}", recovery_grace_s=1)
        await mesh.agent("a1")
        await create(
            mesh,
            "in",
            incoming={
                "kind": "HOOK_KIND_GENERIC",
                "task": {"method": CALL},
                "template": '{"text": "${body.n}"}',
            },
        )
        killing = asyncio.create_task(kill_now_and_then(mesh, random.Random(seed)))
        taken, number = dict[int, str](), 0
        while not killing.done():
            number += 1
            taken[number] = await deliver(http, f"http://127.0.0.1:{port}/hooks/in", b'{"n": "%d"}' % number)
        await killing
        assert number > KILLS
        assert len(set(taken.values())) == number
        for each, task_id in taken.items():
            # The same delivery again is the same task, also after the kills.
            again = await deliver(http, f"http://127.0.0.1:{port}/hooks/in", b'{"n": "%d"}' % each)
            assert again == task_id
        (first, *_) = taken.items()
        view = api.GetTaskRequest(task_id=first[1], view="TASK_VIEW_FULL")
        task = (await mesh.api().GetTask(view, timeout=10)).task
        assert ProbeRequest.FromString(task.payload).text == str(first[0])


@pytest.mark.slow
async def test_every_event_reaches_the_receiver(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    async with MeshHarness(tmp_path) as mesh, Receiver() as receiver:
        receiver.answer = lambda _: web.Response(status=rng.choice([200, 500, 503]))
        await mesh.coordinator(hook_hosts="127.0.0.1", hook_networks="127.0.0.0/8", recovery_grace_s=1)
        await mesh.agent("a1")
        quick = {
            "initial_backoff": {"nanos": 1_000_000},
            "max_backoff": {"nanos": 50_000_000},
            "max_attempts": 1000,
        }
        await create(
            mesh,
            "out",
            outgoing={"url": receiver.url, "events": {"topic": TOPIC}, "options": {"retry": quick}},
        )
        killing = asyncio.create_task(kill_now_and_then(mesh, rng))
        number = 0
        while not killing.done():
            number += 1
            event = event_pb2.NewEvent(
                topic=TOPIC, payload=ProbeRequest(text=str(number)).SerializeToString(), id=f"e{number}"
            )
            request = event_pb2.PublishEventsRequest(events=[event])
            async with asyncio.timeout(60):
                while True:
                    try:
                        await event_pb2_grpc.EventServiceStub(mesh.channel()).PublishEvents(
                            request, timeout=5
                        )
                        break
                    except grpc.aio.AioRpcError:
                        # The coordinator is away.
                        await asyncio.sleep(0.05)
        await killing
        assert number > KILLS
        receiver.answer = lambda _: web.Response()
        wanted = {str(each) for each in range(1, number + 1)}
        await receiver.until(
            lambda all_: wanted <= {json.loads(each.body)["data"]["text"] for each in all_}, timeout_s=60
        )
        # Every attempt at an event has the same id, and no two events share one.
        ids: dict[str, set[str]] = {}
        for each in receiver.received:
            ids.setdefault(json.loads(each.body)["data"]["text"], set()).add(each.headers["webhook-id"])
        assert all(len(found) == 1 for found in ids.values())
        assert len({min(found) for found in ids.values()}) == number


@pytest.mark.slow
async def test_an_address_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for spec in (f"127.0.0.1:{taken.getsockname()[1]}", "nonsense", "https://127.0.0.1:0"):
            done = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "weft", "coordinator", "--listen", "127.0.0.1:0", "--hooks", spec),
                *("--store", str(tmp_path / "weft.db")),
                stderr=asyncio.subprocess.PIPE,
            )
            _, told = await done.communicate()
            assert done.returncode in {1, 2}
            assert b"hooks" in told, told
            assert b"Traceback" not in told
