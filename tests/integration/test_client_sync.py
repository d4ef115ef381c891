"""The client without asyncio: the same calls, from threads, beside a running loop, and at the end of a process."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, environment
from weft.client import (
    Finished,
    Fleet,
    Mesh,
    MeshClosed,
    Progress,
    Schedules,
    Task,
    TaskHandle,
    Tasks,
    TaskState,
    methods,
)
from weft.client.direct_calls import Direct
from weft.client.sync import (
    SyncDirect,
    SyncFleet,
    SyncMesh,
    SyncSchedules,
    SyncTaskHandle,
    SyncTasks,
    WrongThread,
    connect,
)
from weft.rpc.errors import Cancelled, InvalidArgument, NotFound, WeftError

PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
T = 20


@pytest.fixture(scope="module")
def target(_module_mesh: MeshHarness) -> str:
    return _module_mesh.target


@pytest.fixture
def client(target: str) -> Iterator[SyncMesh]:
    with connect(target) as mesh:
        yield mesh


@pytest.mark.parametrize(
    ("aio", "sync"),
    [
        (Mesh, SyncMesh),
        (Tasks, SyncTasks),
        (TaskHandle, SyncTaskHandle),
        (Fleet, SyncFleet),
        (Schedules, SyncSchedules),
        (Direct, SyncDirect),
    ],
)
def test_everything_is_there_with_the_same_arguments(aio: Any, sync: Any) -> None:
    public = {name for name in dir(aio) if not name.startswith("_")}
    if aio is not Mesh:
        public -= {"close"}
    assert public <= set(dir(sync))
    for name in public:
        if inspect.isfunction(getattr(aio, name)):
            there, here = inspect.signature(getattr(aio, name)), inspect.signature(getattr(sync, name))
            assert list(there.parameters) == list(here.parameters), name


def test_tasks(client: SyncMesh) -> None:
    client.ready()
    handle = client.tasks.submit(PROBE.Call, ProbeRequest(text="hi"), priority=7)
    assert handle.result(T).text == "hi"
    assert (handle.snapshot().priority, handle.state()) == (7, TaskState.SUCCEEDED)
    assert client.tasks.handle(PROBE.Call, handle.id).result(T).text == "hi"
    assert [task.id for task in client.tasks.wait([handle, handle.id], T)] == [handle.id, handle.id]
    assert [task.id for task in client.tasks.as_finished(iter([handle]), T)] == [handle.id]
    assert handle.id in {task.id for task in client.tasks.list(states=[TaskState.SUCCEEDED], limit=50)}

    stream = client.tasks.submit(PROBE.Stream, ProbeRequest(stream_count=100))
    assert [reply.index for reply in stream.stream()] == list(range(1, 101)), "more than is read ahead"
    events = list(stream.watch())
    assert sum(isinstance(event, Progress) for event in events) == 100
    assert isinstance(events[-1], Task)
    assert events[-1].succeeded

    running = client.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=60))
    with pytest.raises(TimeoutError, match="has not ended within"):
        running.result(0.05)
    running.cancel("enough", grace_s=1)
    with pytest.raises(Cancelled):
        running.result(T)
    running.retry()
    client.tasks.cancel(running.id)
    assert running.ended(T).state is TaskState.CANCELLED


def test_errors_are_the_same(client: SyncMesh) -> None:
    failing = ProbeRequest(fail_code=5, fail_message="no such paper", fail_reason="PAPER_GONE")
    with pytest.raises(NotFound, match="no such paper") as caught:
        client.tasks.submit(PROBE.Call, failing).result(T)
    assert caught.value.status().details
    with pytest.raises(NotFound, match="no task has the id"):
        list(client.tasks.as_finished(["0190163d-8694-739b-aea5-966c26f8ad91"], T))
    with pytest.raises(InvalidArgument):
        client.tasks.submit("nonsense", b"")
    with pytest.raises(WeftError):
        connect("nonsense:port:7")


def test_many(client: SyncMesh) -> None:
    def requests() -> Iterator[Payload]:
        # May block, and use the client: a thread draws from it.
        assert client.tasks.submit(PROBE.Echo, Payload(data=b"first")).result(T).data == b"first"
        for number in range(500):
            yield Payload(data=b"%d" % number)

    stored: dict[int, str] = {}
    found: dict[int, Finished[Payload]] = {}
    for done in client.tasks.run_many(PROBE.Echo, requests(), stored=stored.__setitem__):
        found[done.index] = done
    assert [int(found[index].result().data) for index in range(500)] == list(range(500))
    assert len(stored) == 500
    handles = list(client.tasks.submit_many(PROBE.Echo, [Payload(data=b"a")] * 3))
    assert [handle.result(T).data for handle in handles] == [b"a"] * 3

    with closing(client.tasks.run_many(PROBE.Echo, (Payload() for _ in iter(int, 1)))) as endless:
        assert next(endless).result() == Payload()

    def broken() -> Iterator[Payload]:
        yield Payload()
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(client.tasks.run_many(PROBE.Echo, broken()))


def test_callbacks_must_not_use_it(client: SyncMesh) -> None:
    def request_id(_request: Payload) -> str:
        return client.fleet.agents()[0].id

    with pytest.raises(WrongThread, match="in a thread of your own"):
        list(client.tasks.run_many(PROBE.Echo, [Payload()], request_id=request_id))


def test_the_fleet_and_explanations(client: SyncMesh) -> None:
    assert [agent.id for agent in client.fleet.agents()] == ["a1"]
    with closing(client.fleet.watch()) as updates:
        assert [agent.id for agent in next(updates)] == ["a1"]
    assert client.direct().explain("probe.v1.ProbeService/Echo", T).candidates


@pytest.mark.parametrize("direct", [False, True])
def test_a_stub_on_the_channel(client: SyncMesh, direct: bool) -> None:
    client.direct().explain("probe.v1.ProbeService/Echo", T)  # the agents are known
    with client.channel(direct=direct) as channel:
        grpc.channel_ready_future(channel).result(T)
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        assert stub.Call(ProbeRequest(text="hi"), timeout=T).text == "hi"
        reply, call = stub.Call.with_call(ProbeRequest(text="hi"), T, [("x-tenant", "acme")])
        assert "x-tenant=acme" in reply.metadata
        assert (call.code(), dict(call.trailing_metadata())["weft-agent"]) == (grpc.StatusCode.OK, "a1")
        future = stub.Call.future(ProbeRequest(text="later"), timeout=T)
        told = threading.Event()
        future.add_done_callback(lambda _: told.set())
        assert (future.result(T).text, future.exception(), future.done()) == ("later", None, True)
        assert told.wait(T)
        responses = stub.Stream(ProbeRequest(stream_count=3), timeout=T)
        assert [each.index for each in responses] == [1, 2, 3]
        assert responses.code() is grpc.StatusCode.OK

        with pytest.raises(grpc.RpcError) as caught:
            stub.Call(ProbeRequest(fail_code=9, fail_message="not now"), timeout=T)
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "not now",
        )
        with pytest.raises(grpc.RpcError) as caught:
            stub.Call(ProbeRequest(sleep_s=60), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Stream(ProbeRequest(stream_count=1, fail_code=9), timeout=T))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        hanging = stub.Call.future(ProbeRequest(sleep_s=60), timeout=60)
        with pytest.raises(grpc.FutureTimeoutError):
            hanging.result(0.01)
        assert hanging.cancel()
        with pytest.raises(grpc.FutureCancelledError):
            hanging.result(T)
        assert hanging.cancelled()
        hanging = stub.Stream(ProbeRequest(stream_count=3, sleep_s=20), timeout=60)
        threading.Timer(0.1, hanging.cancel).start()
        with pytest.raises(grpc.RpcError) as caught:
            next(hanging)
        assert caught.value.code() is grpc.StatusCode.CANCELLED


def test_streams_of_requests(client: SyncMesh) -> None:
    client.direct().explain("probe.v1.ProbeService/Echo", T)
    stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True))
    requests = [ProbeRequest(text=str(number)) for number in range(3)]
    assert stub.Collect(iter(requests), timeout=T)
    # Each request depends on the answer before.
    said = threading.Semaphore(1)

    def talk() -> Iterator[ProbeRequest]:
        for request in requests:
            assert said.acquire(timeout=T)
            yield request

    heard = []
    for reply in stub.Chat(talk(), timeout=T):
        heard.append(reply.text)
        said.release()
    assert heard == ["0", "1", "2"]


def test_many_threads(client: SyncMesh) -> None:
    stub = probe_pb2_grpc.ProbeServiceStub(client.channel())

    def use(number: int) -> None:
        text = str(number)
        assert stub.Call(ProbeRequest(text=text), timeout=T).text == text
        assert client.tasks.submit(PROBE.Call, ProbeRequest(text=text)).result(T).text == text
        assert client.tasks.submit(stub.Call, ProbeRequest(text=text)).result(T).text == text

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(use, range(64)))


async def test_beside_a_running_loop(target: str) -> None:
    """As in a notebook."""
    assert asyncio.get_running_loop().is_running()
    with connect(target) as mesh:
        assert mesh.tasks.submit(PROBE.Echo, Payload(data=b"x")).result(T).data == b"x"
        assert [agent.id for agent in mesh.fleet.agents()] == ["a1"]


def test_closing_ends_what_waits(target: str) -> None:
    mesh = connect(target)
    stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
    handle = mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=60))
    ended: list[BaseException] = []
    waiting = threading.Barrier(4)

    def wait(what: Any) -> None:
        try:
            waiting.wait(T)
            what()
        except BaseException as error:
            ended.append(error)

    waits = [
        handle.result,
        lambda: list(handle.watch()),
        lambda: stub.Call(ProbeRequest(sleep_s=60), timeout=60),
    ]
    threads = [threading.Thread(target=wait, args=(what,)) for what in waits]
    for thread in threads:
        thread.start()
    waiting.wait(T)
    mesh.close()
    for thread in threads:
        thread.join(T)
    assert len(ended) == 3, ended
    assert not any(isinstance(error, asyncio.CancelledError) for error in ended), ended
    with pytest.raises(MeshClosed, match="closed"):
        mesh.tasks.submit(PROBE.Echo, Payload())
    mesh.close()
    with connect(target) as again:
        again.tasks.cancel(handle.id)


# -- whole programs -----------------------------------------------------------------------------------------------------

BEGINNING = """
import os, signal, sys, threading
from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.client import methods
from weft.client.sync import connect
PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
SLOW = probe_pb2.ProbeRequest(stream_count=9, sleep_s=5)
mesh = connect(sys.argv[1])
"""


def program(target: str, text: str, *, beginning: str = BEGINNING) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", beginning + text, target],
        env=environment({"PYTHONPATH": str(ROOT / "tests" / "support" / "gen")}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "left_open",
    [
        "mesh.tasks.submit(PROBE.Call, probe_pb2.ProbeRequest(text='x')).result(20)",
        "updates = mesh.fleet.watch(); next(updates)",
        "call = probe_pb2_grpc.ProbeServiceStub(mesh.channel()).Stream(SLOW, timeout=60)",
        "threading.Thread(target=mesh.tasks.submit(PROBE.Call, SLOW).result, daemon=True).start()",
    ],
    ids=["nothing under way", "an iterator", "a call", "a daemon thread that waits"],
)
def test_an_interpreter_ends_without_close(target: str, left_open: str) -> None:
    process = program(target, left_open + "\nprint('done', flush=True)")
    out, err = process.communicate(timeout=T)
    assert (process.returncode, out) == (0, "done\n"), err
    assert "Fatal" not in err


def test_ctrl_c_ends_a_wait_and_the_process_goes_on(target: str) -> None:
    process = program(
        target,
        """
handle = mesh.tasks.submit(PROBE.Call, probe_pb2.ProbeRequest(sleep_s=60))
stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
waits = [
    lambda: handle.result(),
    lambda: list(handle.watch(1)),
    lambda: stub.Call(probe_pb2.ProbeRequest(sleep_s=60), timeout=60),
    lambda: list(mesh.tasks.run_many(PROBE.Call, [probe_pb2.ProbeRequest(sleep_s=60)])),
]
for number, wait in enumerate(waits):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        wait()
    except KeyboardInterrupt:
        print(number, flush=True)
print(mesh.tasks.cancel(handle.id).id == handle.id)
for task in mesh.tasks.list(states=[]):
    if not task.ended:
        mesh.tasks.cancel(task.id)
""",
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.split()) == (0, ["0", "1", "2", "3", "True"]), err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_says_what_to_do(target: str) -> None:
    process = program(
        target,
        """
import warnings; warnings.simplefilter('ignore', DeprecationWarning)
handle = mesh.tasks.submit(PROBE.Echo, probe_pb2.Payload())
iterator = mesh.tasks.list(); next(iterator)
sys.stdout.flush()
child = os.fork()
if not child:
    for use in (handle.result, lambda: mesh.fleet.agents(), lambda: connect(sys.argv[1]), lambda: list(mesh.tasks.list())):
        try:
            use()
        except Exception as error:
            print(type(error).__name__, "spawn" in str(error), flush=True)
    iterator.close()
    mesh.close()
    sys.exit(7)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
print(handle.result(20) == probe_pb2.Payload())
""",
    )
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["WrongProcess True"] * 4 + ["7", "True"], err
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_may_use_it_when_its_parent_did_not(target: str) -> None:
    beginning = BEGINNING.replace("mesh = connect(sys.argv[1])", "child = os.fork()")
    process = program(
        target,
        """
if not child:
    with connect(sys.argv[1]) as mesh:
        print(mesh.tasks.submit(PROBE.Echo, probe_pb2.Payload()).result(20) == probe_pb2.Payload(), flush=True)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""",
        beginning=beginning,
    )
    out, err = process.communicate(timeout=T)
    assert out.splitlines() == ["True", "7"], err
