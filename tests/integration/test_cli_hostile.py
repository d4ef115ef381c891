"""Every command that prints, on a terminal, with hostile text in every string field of what it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import termios
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from probe.v1 import probe_pb2
from tests.support.command import weft
from tests.support.each_command import arguments_of, leaves
from tests.support.mesh import PROBE_SERVICE
from tests.support.messages import classes_of, with_text
from tests.support.processes import ROOT, environment, fork_server
from tests.support.token_door import RPCS
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.reflection import Reflection
from weft.rpc.network.routes import Routes
from weft.v1 import coordinator_pb2, fleet_pb2, group_pb2, task_pb2

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b5n\u202e[red]x[/red]\r\x00\b\u2028é"
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
OUR_STYLES = re.compile(r"\x1b\[[0-9;]*m")

CALL = "probe.v1.ProbeService/Call"
FAILING = "probe.v1.ProbeService/CallSync"
STREAM = "probe.v1.ProbeService/Stream"
ID = "1"

# Commands that end by themselves: each one that is answered by a coordinator.
COMMANDS = [
    ("tasks", "list"),
    ("tasks", "get", ID),
    ("tasks", "get", ID, "--verbose"),
    ("tasks", "watch", ID),
    ("tasks", "cancel", ID),
    ("tasks", "retry", ID),
    ("tasks", "logs", ID),
    ("agents", "list"),
    ("agents", "show", ID),
    ("agents", "drain", ID),
    ("agents", "drain", ID, "--wait", "--timeout", "0"),
    ("agents", "pause", ID),
    ("agents", "resume", ID),
    ("agents", "stacks", ID),
    ("agents", "stacks", "--all", "--full"),
    ("agents", "restart", ID),
    ("agents", "stop", ID),
    ("agents", "labels", ID, "--set", "zone=eu"),
    ("agents", "log-level", "debug", ID),
    ("agents", "gc", ID),
    ("agents", "tell", "probe.v1.Payload", "{}"),
    ("queues", "list"),
    ("queues", "show", CALL),
    ("queues", "pause", CALL),
    ("queues", "resume", CALL),
    ("queues", "limit", CALL, "--max-running", "1"),
    ("methods", "list"),
    ("methods", "show", CALL),
    ("methods", "set", CALL, "priority=3"),
    ("methods", "reset", CALL),
    ("schedules", "create", ID, CALL, "{}", "--cron", "* * * * *"),
    ("schedules", "list"),
    ("schedules", "show", ID),
    ("schedules", "pause", ID),
    ("schedules", "resume", ID),
    ("schedules", "delete", ID),
    ("schedules", "run", ID),
    ("tasks", "signal", ID, "go", "{}"),
    ("run", "--follow", ID),
    ("groups", "list"),
    ("groups", "show", ID),
    ("groups", "wait", ID),
    ("groups", "close", ID),
    ("groups", "cancel", ID),
    ("groups", "delete", ID),
    ("tokens", "create", "--role", "client"),
    ("tokens", "list"),
    ("tokens", "show", ID),
    ("tokens", "rotate", ID),
    ("tokens", "revoke", ID),
    ("namespaces", "create", ID),
    ("namespaces", "list"),
    ("namespaces", "delete", ID),
    ("audit", "list"),
    ("audit", "verify"),
    ("certs", "pin"),
    ("certs", "rotate"),
    ("provision", "--list"),
    ("provision", "docker", "--name", ID),
    ("events", "list"),
    ("events", "list", CALL),
    ("events", "publish", "probe.v1.ProbeRequest", "{}"),
    ("stats",),
    ("resources",),
    ("usage",),
    ("usage", "--by", "time"),
    ("state", "list"),
    ("state", "get", ID),
    ("state", "set", ID, "{}"),
    ("state", "delete", ID),
    ("budgets", "list"),
    ("budgets", "set", ID, "1", "attempts"),
    ("budgets", "delete", ID),
    ("bridge", "amqp", ID, CALL, "--broker", "amqp://127.0.0.1:1"),
    ("hooks", "list"),
    ("hooks", "show", ID),
    ("hooks", "add", "github", ID, CALL),
    ("hooks", "send", ID, "https://example.com/", "--on", "task-ended"),
    ("hooks", "pause", ID),
    ("hooks", "resume", ID),
    ("hooks", "rotate", ID),
    ("hooks", "test", ID, "{}"),
    ("hooks", "remove", ID),
    ("health",),
    ("doctor",),
    ("call", CALL),
    ("call", STREAM),
    ("call", FAILING),
    ("submit", CALL),
    ("submit", CALL, "--wait"),
    ("submit", FAILING, "--wait"),
    ("call", HOSTILE.replace("\0", "")),
    ("tasks", "list", "--method", HOSTILE.replace("\0", "")),
]
# Those that nobody else answers, whose answer is a file, that do not end, or that another test has.
NOT_ANSWERED = {
    *((name,) for name in ("backup", "export", "import")),
    ("up",),
    ("coordinator",),
    ("agent",),
    ("operator",),
    ("demo",),
    ("bench",),
    ("conformance",),
    ("version",),
    ("help",),
    ("init",),
    ("top",),
    ("agents", "watch"),
    ("events", "tail"),
    ("audit", "tail"),
    ("config", "show"),
    ("policy", "check"),
    *(("certs", name) for name in ("join", "init", "issue", "renew", "show")),
    *(("payloads", name) for name in ("key", "use", "sweep")),
    *(("service", name) for name in ("install", "uninstall", "status")),
}


def further_commands() -> list[tuple[str, ...]]:
    """Those that neither table has, called with what they need: a new command is tried by itself."""
    known = {args[: len(leaf)] for leaf in leaves() for args in COMMANDS} | NOT_ANSWERED
    return [(*leaf, *[ID] * arguments_of(leaf)) for leaf in leaves() if leaf not in known]


def _left(field: FieldDescriptor) -> bool:
    """What would only lead on: to further pages, and to an address."""
    return field.name in {"next_page_token", "cursor", "advertised_address"}


def _filled(message: Any) -> Any:
    return _with_states(with_text(message, HOSTILE, leave=_left))


def _with_states(message: Any) -> Any:
    if isinstance(message, coordinator_pb2.WatchAgentsResponse):
        # A whole snapshot.
        message.snapshot, message.cursor = True, "1"
        del message.removed[:]
    for task in (
        getattr(message, "task", None),
        *getattr(message, "tasks", ()),
        *getattr(message, "finished", ()),
    ):
        if isinstance(task, task_pb2.Task):
            task.state = task_pb2.TASK_STATE_FAILED
            task.outcome.status.CopyFrom(_status())
    for agent in (getattr(message, "agent", None), *getattr(message, "agents", ())):
        if isinstance(agent, fleet_pb2.Agent):
            agent.state = fleet_pb2.AGENT_STATE_ACTIVE
            agent.in_flight = 1
    if isinstance(group := getattr(message, "group", None), group_pb2.Group):
        group.end_time.seconds = 1
    return message


def _status() -> status_pb2.Status:
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=HOSTILE)
    for kind in classes_of(error_details_pb2):
        packed = any_pb2.Any()
        packed.Pack(with_text(kind(), HOSTILE, leave=_left))
        status.details.append(packed)
    status.details.add(type_url=HOSTILE, value=b"\xff")
    return status


class Everything(grpc.GenericRpcHandler):
    """Answers every method of the API, and of the probe, with hostile text."""

    def __init__(self) -> None:
        pool = descriptor_pool.Default()
        paths = [*RPCS, *(f"/{PROBE_SERVICE}/{name}" for name in ("Call", "CallSync", "Stream"))]
        self._methods = {path: pool.FindMethodByName(path[1:].replace("/", ".")) for path in paths}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        answer = descriptors.message_class(method.output_type)
        many = answer is not None and method.server_streaming

        async def stream(requests: Any, context: Any) -> AsyncIterator[bytes]:
            yield _answer(method, answer, await anext(requests) if method.client_streaming else requests)
            if method.name == "WatchTask":
                ended = with_text(
                    answer(), HOSTILE, leave=lambda field: field.name == "progress" or _left(field)
                )
                yield _with_states(ended).SerializeToString()
            if method.name == "WatchAgents":
                await asyncio.Event().wait()

        async def unary(_request: bytes, context: Any) -> bytes:
            if method.name == "CallSync":
                told = rpc_status.to_status(_status())
                await context.abort(told.code, told.details, told.trailing_metadata)
            return _answer(method, answer, b"")

        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(stream)
        if many:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


def _answer(method: Any, answer: Callable[[], Any], request: bytes) -> bytes:
    message = answer()
    if method.name == "SubmitTasks":
        given = coordinator_pb2.SubmitTasksRequest.FromString(request)
        message.acks.add(task_id=ID)
        if given.deliver_results:
            task = message.finished.add()
            with_text(task, HOSTILE, leave=_left)
            task.id, task.state = ID, task_pb2.TASK_STATE_FAILED
            task.outcome.status.CopyFrom(_status())
        return bytes(message.SerializeToString())
    return bytes(_filled(message).SerializeToString())


@pytest.fixture
async def hostile_coordinator() -> AsyncIterator[str]:
    contracts = Contracts()
    methods = [f"probe.v1.ProbeService/{name}" for name in ("Call", "CallSync", "Stream")]
    contracts.admit(Contract.load(descriptors.file_descriptor_set([probe_pb2.DESCRIPTOR]), methods))
    server = grpc.aio.server()
    Reflection(contracts, []).serve_on(Routes(server))
    server.add_generic_rpc_handlers((Everything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def _on_a_terminal(args: tuple[str, ...], target: str, *, lines: int | None = None) -> str:
    """What a command writes to a terminal of 80 columns: until it ends, or until so many lines."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = environment({"WEFT_TARGET": target, "TERM": "xterm"})
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        files = [nothing.fileno(), theirs, theirs]
        process = fork_server().start(args, env=env, cwd=str(ROOT), files=files, leads=True)
    os.close(theirs)
    printed = b""
    try:
        async with asyncio.timeout(20):
            # A terminal whose other side is closed answers with an error.
            with contextlib.suppress(OSError):
                while lines is None or printed.count(b"\n") < lines:
                    chunk = await asyncio.to_thread(os.read, ours, 65536)
                    if not chunk:
                        break
                    printed += chunk
    finally:
        process.kill()
        process.wait(timeout=10)
        os.close(ours)
    return printed.decode().replace("\r\n", "\n")


def _check(args: tuple[str, ...], printed: str) -> None:
    assert printed, args
    assert "Traceback" not in printed, (args, printed)
    found = UNSAFE.findall(OUR_STYLES.sub("", printed))
    assert not found, (args, found, printed)


@pytest.mark.slow
async def test_no_command_lets_a_terminal_obey_what_it_shows(hostile_coordinator: str) -> None:
    shown = ""
    commands = [*COMMANDS, *further_commands()]
    for start in range(0, len(commands), 4):
        some = commands[start : start + 4]
        printed = await asyncio.gather(*(_on_a_terminal(args, hostile_coordinator) for args in some))
        for args, text in zip(some, printed, strict=True):
            _check(args, text)
            shown += text
    args = ("agents", "watch")
    _check(args, await _on_a_terminal(args, hostile_coordinator, lines=1))
    assert "[red]x[/red]" in shown, "nothing of it is markup"


async def test_json_keeps_what_it_is_told(hostile_coordinator: str) -> None:
    task, agents, failure = await asyncio.gather(
        weft("tasks", "get", ID, "--json", target=hostile_coordinator),
        weft("agents", "list", "--json", target=hostile_coordinator),
        weft("call", FAILING, "--json", target=hostile_coordinator),
    )
    for done in (task, agents, failure):
        assert not UNSAFE.search(done.out.replace("\n", ""))
    assert task.document["request_id"] == HOSTILE
    assert agents.document[0]["labels"][HOSTILE] == HOSTILE
    assert failure.document["error"]["message"] == HOSTILE
