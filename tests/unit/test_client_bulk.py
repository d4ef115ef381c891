"""Bulk submission against a small coordinator whose streams break: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from tests.support.task_api import TaskApi, TaskApiServer
from weft.client import BulkProgress, Mesh, Unreachable, connect, generated_ids
from weft.rpc.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from weft.v1 import errors_pb2

METHOD = "acme.v1.Echo/Echo"
# The client waits a little between tries; ten breaks stay below a second or two.
BREAKS = 10


@pytest.fixture
async def server() -> AsyncIterator[TaskApiServer]:
    async with TaskApiServer() as running:
        yield running


@pytest.fixture
def api(server: TaskApiServer) -> TaskApi:
    return server.api


@pytest.fixture
async def mesh(server: TaskApiServer) -> AsyncIterator[Mesh]:
    async with connect(server.target) as connected:
        yield connected


def requests(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_every_request_comes_back_once_with_its_own_response(mesh: Mesh, api: TaskApi) -> None:
    sent = requests(2000)
    got = {done.index: done.result() async for done in mesh.tasks.run_many(METHOD, sent)}
    assert got == dict(enumerate(sent))
    assert api.streams == 1
    assert max(api.message_sizes) == 256


async def test_handles_come_in_the_order_of_the_requests(mesh: Mesh, api: TaskApi) -> None:
    handles = [handle async for handle in mesh.tasks.submit_many(METHOD, requests(600))]
    assert [handle.id for handle in handles] == [f"t{number}" for number in range(600)]
    assert await handles[7].result(timeout_s=5) == b"7"


@pytest.mark.parametrize("place", ["before storing", "before the answer", "before the results"])
async def test_a_broken_stream_is_mended(mesh: Mesh, api: TaskApi, place: str) -> None:
    api.stream_lives = [(1, place)]
    sent = requests(700)
    got = [(done.index, done.result()) async for done in mesh.tasks.run_many(METHOD, sent)]
    assert sorted(got) == list(enumerate(sent))
    assert len(api.tasks) == 700
    if place == "before the results":
        assert api.wait_calls, "acknowledged tasks are waited for beside the stream"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
async def test_many_breaks_at_random(mesh: Mesh, api: TaskApi, seed: int) -> None:
    api.break_streams(random.Random(seed), BREAKS, most_messages=4)
    sent = requests(3000)
    got = [(done.index, done.result()) async for done in mesh.tasks.run_many(METHOD, sent, window=1000)]
    assert sorted(got) == list(enumerate(sent))
    assert len(api.tasks) == 3000, "the same request ids: nothing is stored twice"


async def test_a_refused_request_comes_out_as_refused(mesh: Mesh, api: TaskApi) -> None:
    api.refusals[b"3"] = [InvalidArgument("three is not allowed", field="payload")]
    got = {done.index: done async for done in mesh.tasks.run_many(METHOD, requests(10))}
    assert len(got) == 10
    with pytest.raises(InvalidArgument, match="three is not allowed"):
        got[3].result()
    assert all(done.succeeded for index, done in got.items() if index != 3)

    api.refusals[b"3"] = [InvalidArgument("three is not allowed", field="payload")]
    handles = [handle async for handle in mesh.tasks.submit_many(METHOD, requests(5))]
    assert [handle.refusal is not None for handle in handles] == [False, False, False, True, False]
    with pytest.raises(InvalidArgument):
        await handles[3].result()


async def test_progress_counts_what_was_taken_stored_and_ended(mesh: Mesh, api: TaskApi) -> None:
    api.refusals[b"3"] = [InvalidArgument("three is not allowed", field="payload")]
    seen: list[BulkProgress] = []
    ends = mesh.tasks.run_many(METHOD, requests(1000), window=100, progress=seen.append)
    assert len([end async for end in ends]) == 1000
    assert seen[-1] == BulkProgress(1000, stored=999, ended=1000, failed=1, source_ended=True)
    for before, after in itertools.pairwise(seen):
        assert before != after
        assert all(old <= new for old, new in zip(before, after, strict=True))
    assert all(each.ended <= each.taken for each in seen)
    # As often as the coordinator answers, not as often as tasks end.
    assert len(seen) < 500


async def test_a_momentary_refusal_is_sent_again(mesh: Mesh, api: TaskApi) -> None:
    full = ResourceExhausted("the queue is full", retry_after_s=0.01)
    api.refusals[b"3"] = [full, full]
    got = {done.index: done.result() async for done in mesh.tasks.run_many(METHOD, requests(10))}
    assert got == dict(enumerate(requests(10)))
    assert api.refusals[b"3"] == []


async def test_a_source_that_fails_raises_after_what_it_gave_before(mesh: Mesh) -> None:
    def source() -> Iterator[bytes]:
        yield from requests(300)
        raise KeyError("the source is broken")

    got = []
    with pytest.raises(KeyError, match="the source is broken"):
        async for done in mesh.tasks.run_many(METHOD, source()):
            got.append(done.index)
    assert sorted(got) == list(range(300))


async def test_an_async_source_is_not_held_back(mesh: Mesh) -> None:
    answered = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        for number in range(5):
            answered.clear()
            yield b"%d" % number
            # The next request exists only once this one has been answered.
            await answered.wait()

    got = []
    async for done in mesh.tasks.run_many(METHOD, source()):
        got.append(done.result())
        answered.set()
    assert got == requests(5)


async def test_an_async_source_that_fails(mesh: Mesh) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"0"
        raise KeyError("the source is broken")

    with pytest.raises(KeyError, match="the source is broken"):
        async for _ in mesh.tasks.run_many(METHOD, source()):
            pass


async def test_the_window_bounds_what_a_slow_consumer_has_under_way(mesh: Mesh, api: TaskApi) -> None:
    taken_from_source = 0

    def source() -> Iterator[bytes]:
        nonlocal taken_from_source
        for request in requests(1000):
            taken_from_source += 1
            yield request

    taken = 0
    async with aclosing(mesh.tasks.run_many(METHOD, source(), window=40)) as finished:
        async for _ in finished:
            taken += 1
            await asyncio.sleep(0)
            assert taken_from_source <= taken + 40
    assert api.most_undelivered <= 40


async def test_a_slow_consumer_does_not_starve_the_stream(mesh: Mesh, api: TaskApi) -> None:
    async with aclosing(mesh.tasks.run_many(METHOD, requests(400), window=200)) as finished:
        taken = 0
        async for _ in finished:
            taken += 1
            if taken == 100:
                # Half of the first window is taken: the next tasks are on their way meanwhile.
                while len(api.tasks) <= 200:
                    await asyncio.sleep(0.01)


async def test_a_consumer_that_stops_ends_the_stream(mesh: Mesh, api: TaskApi) -> None:
    async with aclosing(mesh.tasks.run_many(METHOD, iter(requests(100_000)), window=100)) as finished:
        async for _ in finished:
            break
    assert await asyncio.wait_for(api.ended_calls.get(), 5) == "SubmitTasks"


async def test_one_request_id_for_two_requests_is_one_task(mesh: Mesh, api: TaskApi) -> None:
    sent = [b"same"] * 500
    got = [
        done async for done in mesh.tasks.run_many(METHOD, sent, request_id=lambda request: request.decode())
    ]
    assert sorted(done.index for done in got) == list(range(500))
    assert len(api.tasks) == 1
    assert {done.result() for done in got} == {b"same"}


async def test_a_request_that_fits_no_message_is_refused_here(mesh: Mesh, api: TaskApi) -> None:
    got = {
        done.index: done async for done in mesh.tasks.run_many(METHOD, [b"a", b"x" * 17 * 1024 * 1024, b"b"])
    }
    error = got[1].error()
    assert isinstance(error, ResourceExhausted)
    assert error.reason == errors_pb2.ERROR_REASON_PAYLOAD_TOO_LARGE
    assert got[0].succeeded
    assert got[2].succeeded


async def test_no_coordinator_ends_in_a_plain_error() -> None:
    async with connect("127.0.0.1:1", patience_s=0.3) as mesh:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            async for _ in mesh.tasks.run_many(METHOD, [b"a"]):
                pass


async def test_an_absurd_window_is_refused(mesh: Mesh) -> None:
    with pytest.raises(ValueError, match="window"):
        async for _ in mesh.tasks.run_many(METHOD, [b"a"], window=0):
            pass


async def test_what_was_sent_long_ago_is_not_repeated(
    mesh: Mesh, api: TaskApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id, which the library made, may be forgotten by then: it could be stored as a second task."""
    api.stream_lives = [(0, "before the answer")]
    times = iter([1.0, 10_000.0])
    monkeypatch.setattr(generated_ids, "clock_s", lambda: next(times, 10_000.0))
    got = [done async for done in mesh.tasks.run_many(METHOD, requests(3))]
    assert [type(done.error()) for done in got] == [DeadlineExceeded] * 3
    assert "too late to repeat" in str(got[0].error())
    assert len(api.tasks) == 3


async def test_own_ids_are_repeated_for_a_day(
    mesh: Mesh, api: TaskApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.stream_lives = [(0, "before the answer")]
    times = iter([1.0, 10_000.0])
    monkeypatch.setattr(generated_ids, "clock_s", lambda: next(times, 10_000.0))
    sent = requests(3)
    runs = mesh.tasks.run_many(METHOD, sent, request_id=lambda payload: f"own-{payload!r}".replace(" ", ""))
    assert sorted([done.result() async for done in runs]) == sent
    assert len(api.tasks) == 3
