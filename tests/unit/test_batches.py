"""Batches: calls that come close together are one call of a function, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from weft.agent import Agent, Batch, BatchError, BatchQueue, HostingError, InvalidArgument, current_task
from weft.v1 import task_pb2

LONG_S = 60.0


async def doubled(requests: list[int]) -> list[int]:
    return [each * 2 for each in requests]


async def test_a_full_batch_runs_at_once() -> None:
    sizes: list[int] = []

    async def run(requests: list[int]) -> list[int]:
        sizes.append(len(requests))
        return [each * 2 for each in requests]

    queue = BatchQueue(run, Batch(max_size=3, wait_s=LONG_S))
    assert await asyncio.gather(*(queue.call(each) for each in range(6))) == [0, 2, 4, 6, 8, 10]
    assert sizes == [3, 3]


async def test_the_first_one_waits_only_so_long() -> None:
    queue = BatchQueue(doubled, Batch(max_size=100, wait_s=0.01))
    assert await asyncio.gather(queue.call(1), queue.call(2)) == [2, 4]
    assert await BatchQueue(doubled, Batch(wait_s=0)).call(3) == 6


async def test_each_call_gets_its_own_exception() -> None:
    def run(requests: list[int]) -> Sequence[int | Exception]:
        assert threading.current_thread() is not threading.main_thread()
        return [InvalidArgument("odd") if each % 2 else each for each in requests]

    queue = BatchQueue(run, Batch(max_size=4, wait_s=LONG_S))
    results = await asyncio.gather(*(queue.call(each) for each in range(4)), return_exceptions=True)
    assert results[::2] == [0, 2]
    assert [type(each) for each in results[1::2]] == [InvalidArgument] * 2


@pytest.mark.parametrize(
    ("returned", "raised"),
    [
        ([1], "returned 1 responses for 2 requests"),
        (None, "returned NoneType"),
        ("ab", "returned str"),
        (iter([1, 2]), "returned list_iterator"),
        (ValueError("no"), "no"),
        (StopIteration(), "StopIteration"),
        (asyncio.CancelledError(), "cancelled itself"),
    ],
)
async def test_what_is_no_list_fails_each_call(returned: object, raised: str) -> None:
    async def run(requests: list[int]) -> list[int]:
        if isinstance(returned, BaseException):
            if isinstance(returned, StopIteration):
                return [returned for _ in requests]  # type: ignore[misc]
            raise returned
        return returned  # type: ignore[return-value]

    queue = BatchQueue(run, Batch(max_size=2, wait_s=LONG_S))
    results = await asyncio.gather(queue.call(1), queue.call(2), return_exceptions=True)
    assert all(raised in str(each) for each in results), results
    assert all(isinstance(each, BatchError | ValueError) for each in results)


@pytest.mark.parametrize("raised", [SystemExit(3), GeneratorExit(), KeyboardInterrupt(), StopIteration()])
@pytest.mark.parametrize("in_thread", [True, False])
async def test_what_would_end_the_program_fails_each_call(raised: BaseException, *, in_thread: bool) -> None:
    def run(requests: list[int]) -> list[int]:
        raise raised

    async def run_async(requests: list[int]) -> list[int]:
        raise raised

    queue = BatchQueue(run if in_thread else run_async, Batch(max_size=2, wait_s=LONG_S))
    results = await asyncio.gather(queue.call(1), queue.call(2), return_exceptions=True)
    if isinstance(raised, StopIteration) and not in_thread:
        # Python makes a RuntimeError of it in coroutines.
        assert [type(each) for each in results] == [RuntimeError] * 2
    else:
        assert [str(each) for each in results] == [
            f"the function of batches gave {type(raised).__name__}"
        ] * 2


async def test_a_call_of_a_batch_that_was_cancelled_in_it_fails() -> None:
    async def run(requests: list[int]) -> list[int | BaseException]:
        return [requests[0], asyncio.CancelledError()]

    queue: BatchQueue[int, int] = BatchQueue(run, Batch(max_size=2, wait_s=LONG_S))  # type: ignore[arg-type]
    results = await asyncio.gather(queue.call(1), queue.call(2), return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], BatchError)


async def test_who_leaves_is_not_asked_for_and_an_empty_batch_is_not_run() -> None:
    seen: list[list[int]] = []

    async def run(requests: list[int]) -> list[int]:
        seen.append(requests)
        return requests

    queue = BatchQueue(run, Batch(max_size=2, wait_s=0.01))
    first = asyncio.create_task(queue.call(1))
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(queue.call(2), queue.call(3)) == [2, 3]
    alone = asyncio.create_task(queue.call(4))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait([alone])
    await asyncio.sleep(0.03)
    assert seen == [[2, 3]]


async def test_a_batch_that_all_have_left_is_cancelled_and_one_goes_on_for_those_who_stay() -> None:
    started, ended, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(requests: list[int]) -> list[int]:
        started.set()
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            ended.set()
            raise
        return requests

    queue = BatchQueue(run, Batch(max_size=2, wait_s=LONG_S))
    calls = [asyncio.create_task(queue.call(each)) for each in range(2)]
    await started.wait()
    calls[0].cancel()
    await asyncio.wait([calls[0]])
    assert not ended.is_set()
    calls[1].cancel()
    async with asyncio.timeout(5):
        await ended.wait()
    started.clear()
    calls = [asyncio.create_task(queue.call(each)) for each in range(2)]
    await started.wait()
    calls[0].cancel()
    go_on.set()
    assert await calls[1] == 1


async def test_a_batch_belongs_to_no_call() -> None:
    async def run(requests: list[int]) -> list[int]:
        with pytest.raises(LookupError):
            current_task()
        return requests

    assert await BatchQueue(run, Batch(wait_s=0)).call(1) == 1


@pytest.mark.parametrize(("size", "wait_s"), [(0, 0.1), (10_001, 0.1), (1, -1), (1, 61), (1, float("nan"))])
def test_batches_have_bounds(size: int, wait_s: float) -> None:
    with pytest.raises(ValueError, match="Batch"):
        Batch(max_size=size, wait_s=wait_s)


def test_functions_that_are_none_of_batches_are_refused() -> None:
    agent = Agent()
    batch = Batch()

    async def right(requests: list[task_pb2.Task]) -> list[task_pb2.Task | Exception]:
        return list(requests)

    async def single(request: task_pb2.Task) -> task_pb2.Task:
        return request

    async def untyped(requests):  # type: ignore[no-untyped-def]
        return requests

    async def with_context(requests: list[task_pb2.Task], context: object) -> list[task_pb2.Task]:
        return requests

    async def yields(requests: list[task_pb2.Task]):  # type: ignore[no-untyped-def]
        yield requests

    with pytest.raises(HostingError, match="give isolate or batch"):
        agent.method("a.B/C", batch=batch, isolate=True)(right)
    for function, says in (
        (single, "is no list"),
        (untyped, "has no annotation"),
        (with_context, "nothing else"),
        (yields, "yields"),
    ):
        with pytest.raises(HostingError, match=says):
            agent.method("a.B/C", batch=batch)(function)  # type: ignore[type-var]
    hosted = agent.method("a.B/C", batch=batch)(right)
    assert hosted.method.name == "a.B/C"
    assert list(agent.methods) == ["a.B/C"]
