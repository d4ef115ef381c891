"""Every text that a request of weft's own RPCs can have, as a path, as escape sequences, far too long, and as bytes that are no text.

Made from the descriptors: a new RPC, or a new field, is in it by itself. Each gets a typed answer that a stock client can read, and leaves no
trace: in no file's name, in no key of Redis but as its last part, and in no line of the log but escaped.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
import redis.asyncio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.support.beside import direct_address
from tests.support.lightweight import CONTRACT, ECHO, hello
from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer
from tests.support.request_places import places
from tests.support.token_door import RPCS
from weft.rpc.errors import DOMAIN, error_info, status_of_call
from weft.v1 import session_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

F = FieldDescriptor
MARK = "weft-hostile"
TEXTS = {
    "path": f"../../../../tmp/{MARK}",
    # A colon and braces mean something in a key, a line break in a log, the rest to a terminal.
    "controls": f"{MARK}}}:\0\n\r{{\x1b[2J\x1b]0;t\x07\x9b5n\u202e\u2028ｅｃｈо:*?[a]%s$(id)",
    "long": MARK + "9" * 10_240,
}
CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]")
NO_TEXT = "n" * 7, b"\xed\xa0\x80\xff\xc0\xaf\xfe"
AT_AGENT = [
    f"/weft.v1.AgentService/{name}"
    for name in descriptor_pool.Default().FindServiceByName("weft.v1.AgentService").methods_by_name
]
IN_HELLO = ("weft.v1.Hello.", "weft.v1.HostedMethod.", "weft.v1.HeldAttempt.")
AT_ONCE = 32

SCHEDULE = {"spec": {"method": ECHO, "cron": "0 0 1 1 *"}}
# What gets a request as far as its texts.
BASES: dict[str, dict[str, Any]] = {
    "SubmitTask": {"method": ECHO},
    "SubmitTasks": {"tasks": [{"method": ECHO}]},
    "WaitTasks": {"task_ids": ["x"], "timeout": {"nanos": 1_000_000}},
    "WaitGroup": {"name": "g", "timeout": {"nanos": 1_000_000}},
    "UpdateAgent": {"agent_id": "good", "desired_state": 1},
    "UpdateQueue": {"method": ECHO},
    "CreateGroup": {"name": "g"},
    "CreateSchedule": {"name": "s", **SCHEDULE},
    "UpdateSchedule": {"name": "s", **SCHEDULE},
    "UpdateMethod": {"name": ECHO, "policy": {"priority": 3}, "update_mask": {"paths": ["priority"]}},
    "CreateToken": {"role": 1},
    "CreatePool": {"name": "p", "spec": {"template": {"provider": "process", "program": "m:agent"}}},
    "LaunchAgents": {"template": {"provider": "process", "program": "m:agent"}},
    "Report": {"agent_id": "good", "epoch": 1, "message": {}},
    "Execute": {"calls": [{"id": 1, "method": ECHO}]},
    "ProvisionAgent": {"kind": "compose", "name": "x", "dry_run": True},
}


def own_hello() -> session_pb2.ConnectRequest:
    """Of an agent that there is not yet."""
    return session_pb2.ConnectRequest(hello=hello(f"bad-{next(NUMBERS)}", contract=CONTRACT))


NUMBERS = itertools.count()
HELLO_TAG = own_hello().SerializeToString()[:1]


def base_of(method: MethodDescriptor, field: str) -> Message:
    if method.name == "Connect" and field.startswith(IN_HELLO):
        return own_hello()
    made: Message = GetMessageClass(method.input_type)(**BASES.get(method.name, {}))
    return made


class Site:
    """A coordinator on a Redis, with an agent, and stock channels to both."""

    def __init__(self, mesh: MeshHarness, at_agent: str, store: RedisServer) -> None:
        self.mesh = mesh
        self.store = store
        # Without options of weft's: an answer that is too large for a stock client is no answer.
        self.coordinator = grpc.aio.insecure_channel(mesh.target)
        self.agent = grpc.aio.insecure_channel(at_agent)

    async def close(self) -> None:
        await self.coordinator.close()
        await self.agent.close()

    async def answer(self, path: str, request: bytes) -> str:
        """What is wrong with the answer to a request; empty: nothing."""
        channel = self.agent if path in AT_AGENT else self.coordinator
        call = channel.stream_stream(path)(timeout=10.0)
        try:
            if not path.endswith("/Connect"):
                await call.write(request)
                await call.done_writing()
            elif request.startswith(HELLO_TAG):
                await call.write(request)
            else:
                await call.write(own_hello().SerializeToString())
                await call.read()
                await call.write(request)
            # The first answer is enough: some streams stay open.
            async with asyncio.timeout(0.5):
                await call.read()
            return ""
        except TimeoutError:
            return ""
        except asyncio.InvalidStateError:
            code = await call.code()
            if code is grpc.StatusCode.OK:
                return ""
            error = grpc.aio.AioRpcError(code, None, await call.trailing_metadata(), await call.details())  # type: ignore[arg-type]
        except grpc.aio.AioRpcError as caught:
            error = caught
        finally:
            call.cancel()
        if error.details() == "Internal error from Core":
            # This end's gRPC, whose call ended while it wrote (grpc#36066).
            return ""
        status = status_of_call(error)
        info = error_info(status)
        if info is None or info.domain != DOMAIN or error.code() in BROKEN:
            return f"{error.code()}: {status.message[:300]!r}"
        return ""


BROKEN = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    async with RedisServer(folder / "redis") as store, MeshHarness(folder) as mesh:
        mesh.store = store.url
        await mesh.coordinator(log_level="debug")
        await mesh.agent("good", env={"WEFT_LOG_LEVEL": "debug"})
        made = Site(mesh, await direct_address(mesh, "good"), store)
        yield made
        await made.close()


def requests() -> Iterator[tuple[str, str, bytes]]:
    """The path, the field and what is in it, and the request."""
    pool = descriptor_pool.Default()
    for path in [*RPCS, *AT_AGENT]:
        service, _, name = path[1:].rpartition("/")
        method = pool.FindServiceByName(service).methods_by_name[name]
        found = list(places(method.input_type, set()))
        for field, put in found:
            for kind, text in TEXTS.items():
                put(message := base_of(method, field), text)
                yield path, f"{field} ({kind})", message.SerializeToString()
        for field, put in found[:1]:
            put(message := base_of(method, field), NO_TEXT[0])
            raw = message.SerializeToString().replace(NO_TEXT[0].encode(), NO_TEXT[1])
            yield path, f"{field} (no text)", raw


@pytest.mark.slow
async def test_hostile_text_at_each_field(site: Site) -> None:
    before, room = _files(site.mesh.folder), asyncio.Semaphore(AT_ONCE)

    async def tried(path: str, what: str, request: bytes) -> str:
        async with room:
            wrong = await site.answer(path, request)
        return f"{path} {what}: {wrong}" if wrong else ""

    made = list(requests())
    assert len(made) > 500
    wrong = await asyncio.gather(*(tried(*each) for each in made))
    assert not any(wrong), "\n".join(filter(None, wrong))
    await _leaves_no_trace(site, before)
    await site.mesh.wait_agent("good")


async def _leaves_no_trace(site: Site, before: set[Path]) -> None:
    assert _files(site.mesh.folder) == before
    assert not Path(f"/tmp/{MARK}").exists()
    # A key is a kind, and what it is about: the rest of the key, whatever it has.
    async with redis.asyncio.from_url(site.store.url) as client:
        keys = [key async for key in client.scan_iter(count=1000)]
    known = re.compile(rb"\{weft\}:[a-z_]+(:.*)?", re.DOTALL)
    assert not [key for key in keys if not known.fullmatch(key) or key.count(b"{weft}") > 1]
    for process in (site.mesh.coordinator_process, site.mesh.agents["good"]):
        assert process is not None
        written = process.log.read_bytes()
        assert not CONTROLS.search(written)
        for line in written.splitlines():
            assert isinstance(json.loads(line), dict), line[:500]
        assert b"Traceback" not in written


def _files(folder: Path) -> set[Path]:
    """What there is in a mesh's folder, and beside it. Redis' own files come and go."""
    return {each.relative_to(folder.parent) for each in folder.parent.rglob("*") if "redis" not in each.parts}
