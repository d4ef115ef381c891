"""A stock client cannot tell that it talks through the mesh: each way is compared with a call straight to the servicer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from mirror.v1 import mirror_pb2, mirror_pb2_grpc
from tests.support import deep
from tests.support.ledger import Ledger
from tests.support.seen import ENOUGH_S, Seen, see, see_sync, start, take_one, watch
from tests.support.ways import (
    FURTHER_WAYS,
    SHAPES,
    STRAIGHT,
    WAYS,
    Durable,
    EgressDurable,
    IngressDurable,
    Relayed,
    RelayedUnknown,
    Way,
    opened,
)
from weft.rpc.calls.answer_size import MAX_ANSWER_BYTES
from weft.rpc.network.channel import MAX_METADATA_BYTES, METADATA_OPTIONS

Ask = mirror_pb2.Ask
Entry = mirror_pb2.Entry
MIB = 1024 * 1024

METADATA = (
    ("x-tenant", "acme"),
    ("x-many", "first"),
    ("x-many", "second"),
    ("x-empty", ""),
    ("x-raw-bin", b"\x00\xff\x00"),
    ("x-raw-bin", b""),
    ("x-words", "with spaces, commas; and=signs"),
)
HEADERS = [
    Entry(key="h-many", value=b"1"),
    Entry(key="h-many", value=b"2"),
    Entry(key="h-bin", value=b"\x00\x01"),
]
TRAILERS = [
    Entry(key="t-many", value=b"1"),
    Entry(key="t-many", value=b"2"),
    Entry(key="t-bin", value=b"\xff\x00"),
]


@dataclass
class Pair:
    """The reference and a way, ready to be called."""

    straight: mirror_pb2_grpc.MirrorServiceStub
    way: Way
    stub: mirror_pb2_grpc.MirrorServiceStub

    async def same(self, shape: str, *asks: Ask, **how: Any) -> Seen:
        """Make a call both ways; what was seen, which must be the same."""
        expected, seen = await asyncio.gather(
            see(self.straight, shape, asks, **how), see(self.stub, shape, asks, **self.asking(how))
        )
        assert seen == expected
        return seen

    def start(self, shape: str, *asks: Ask, **how: Any) -> Any:
        """Begin a call on the way."""
        return start(self.stub, shape, asks, **self.asking(how))

    def open(self, shape: str, **how: Any) -> Any:
        """Begin a call on the way, whose requests are written one by one."""
        return getattr(self.stub, shape)(**self.asking(how))

    def asking(self, how: dict[str, Any]) -> dict[str, Any]:
        return how | {"metadata": (*how.get("metadata", ()), *self.way.asks)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def straight(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Way]:
    async with opened(STRAIGHT, tmp_path_factory.mktemp("straight")) as way:
        yield way


# The relay by itself tells where a fault is; the other ways have it in them.
_EACH_WAY = [
    pytest.param(kind, id=kind.__name__, marks=[pytest.mark.slow] if kind in FURTHER_WAYS else [])
    for kind in (*WAYS, *FURTHER_WAYS)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=_EACH_WAY)
async def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Way]:
    async with opened(request.param, tmp_path_factory.mktemp("way")) as way:
        yield way


@pytest.fixture
async def pair(straight: Way, way: Way) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(each.channel()) for each in (straight, way)]
        stubs = [mirror_pb2_grpc.MirrorServiceStub(channel) for channel in channels]
        yield Pair(stubs[0], way, stubs[1])


@pytest.fixture
async def wide(straight: Way, way: Way) -> AsyncIterator[Pair]:
    """The same for clients that take as much metadata as weft does."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(each.channel(*METADATA_OPTIONS)) for each in (straight, way)
        ]
        stubs = [mirror_pb2_grpc.MirrorServiceStub(channel) for channel in channels]
        yield Pair(stubs[0], way, stubs[1])


@pytest.fixture
def ledger(tmp_path: Any) -> Ledger:
    return Ledger(tmp_path / "ledger")


def several(shape: str, first: Ask, count: int = 3) -> list[Ask]:
    """Requests of a shape: one, or a stream of them."""
    return [first] if take_one(shape) else [first, *(Ask(text=f"n{n}") for n in range(1, count))]


each_shape = pytest.mark.parametrize("shape", SHAPES)
streams = pytest.mark.parametrize("shape", ["Down", "Both"])
takes_stream = pytest.mark.parametrize("shape", ["Up", "Both"])
only_both = pytest.mark.parametrize("shape", ["Both"])


# -- metadata and status ----------------------------------------------------------------------------------------------


@each_shape
async def test_metadata_both_ways(pair: Pair, shape: str) -> None:
    ask = Ask(text="m", headers=HEADERS, trailers=TRAILERS, answers=2)
    seen = await pair.same(shape, *several(shape, ask), metadata=METADATA)
    sent = ((key, value if isinstance(value, bytes) else value.encode()) for key, value in METADATA)
    assert seen.metadata == tuple(sorted(sent, key=lambda entry: entry[0]))
    assert len(seen.headers) == len(HEADERS)
    assert len(seen.trailers) == len(TRAILERS)


@each_shape
async def test_metadata_of_a_failure(pair: Pair, shape: str) -> None:
    ask = Ask(text="m", headers=HEADERS, trailers=TRAILERS, answers=2, code=9, message="no", reason="WHY")
    seen = await pair.same(shape, *several(shape, ask))
    assert seen.reasons == ("WHY",)
    assert len(seen.headers) == len(HEADERS)


@each_shape
async def test_nothing_but_a_status(pair: Pair, shape: str) -> None:
    seen = await pair.same(
        shape, *several(shape, Ask(code=5, message="no such thing: é\n\t%41 \U0001f9f5"), 1)
    )
    assert seen.headers == ()
    assert seen.trailers == ()


@pytest.mark.parametrize("shape", ["Unary", "Both"])
async def test_every_code(pair: Pair, shape: str) -> None:
    for code in range(1, 17):
        if code != 14 or pair.way.once:
            await pair.same(shape, *several(shape, Ask(text="a", code=code, message=f"code {code}")))


@each_shape
async def test_an_exception(pair: Pair, shape: str) -> None:
    asks = several(shape, Ask(text="x", raise_text="boom", answers=2, trailers=TRAILERS))
    expected = await see(pair.straight, shape, asks)
    seen = await see(pair.stub, shape, asks, **pair.asking({}))
    # Its text stays with an agent that knows Python.
    assert (seen.code, seen.answers) == (expected.code, expected.answers)


async def test_a_method_that_is_not_there(pair: Pair) -> None:
    async with pair.way.channel() as channel:
        call = channel.unary_unary("/mirror.v1.MirrorService/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=ENOUGH_S, metadata=pair.way.asks)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_service_that_is_not_there(pair: Pair) -> None:
    if not pair.way.stock:
        pytest.skip("a library waits for the agents of a service: it says UNAVAILABLE")
    async with pair.way.channel() as channel, asyncio.timeout(ENOUGH_S):
        call = channel.unary_unary("/no.such.v1.Service/Do")
        while True:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=ENOUGH_S, metadata=pair.way.asks)
            # An egress that has just begun does not know yet what there is.
            if caught.value.code() is not grpc.StatusCode.UNAVAILABLE:
                break
            await asyncio.sleep(0.05)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Keys that a proxy, or gRPC, might take for its own, and that a stock server sees all the same.
ODD_KEYS = (
    "grpc-foo",
    "grpc-retry-pushback-ms",
    "lb-token",
    "host",
    "cookie",
    "authorization",
    "via",
    "accept-encoding",
    "trailer",
    "keep-alive",
    "x-forwarded-for",
    "server",
    "date",
)


async def test_odd_keys_pass_either_way(pair: Pair) -> None:
    entries = [Entry(key=key, value=b"7") for key in ODD_KEYS]
    seen = await pair.same(
        "Unary",
        Ask(text="o", headers=entries, trailers=entries),
        metadata=tuple((key, "7") for key in ODD_KEYS),
    )
    for what in (seen.metadata, seen.headers, seen.trailers):
        assert {key for key, _ in what} == set(ODD_KEYS)


@pytest.mark.parametrize("code", [0, 5])
async def test_headers_of_a_stream_without_an_answer(pair: Pair, code: int) -> None:
    if type(pair.way) is not Durable:
        pytest.skip("where a call is passed on, grpc.aio loses them now and then, as for its own callers")
    with grpc.insecure_channel(pair.way.address) as channel:
        stub: Any = mirror_pb2_grpc.MirrorServiceStub(channel)
        ask = Ask(headers=HEADERS, answers=0, code=code)
        seen = [
            len((await asyncio.to_thread(see_sync, stub, "Down", [ask], **pair.asking({}))).headers)
            for _ in range(20)
        ]
    assert seen == [len(HEADERS)] * 20


async def test_health_lists_what_is_served(pair: Pair) -> None:
    if not pair.way.stock:
        pytest.skip("a library's channels are for the mesh's methods")
    if isinstance(pair.way, Relayed | RelayedUnknown):
        pytest.skip("the stock servicer's health has no List")
    async with pair.way.channel() as channel:
        listed = await channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=ENOUGH_S)
    # Its name and SERVING, as an entry of the map.
    assert b"\x0a\x17mirror.v1.MirrorService\x12\x02\x08\x01" in listed


@each_shape
async def test_a_synchronous_client(pair: Pair, shape: str) -> None:
    if not pair.way.stock:
        pytest.skip("a library is no port to dial")
    ask = Ask(text="m", headers=HEADERS, trailers=TRAILERS, answers=2, code=9, message="no", reason="WHY")
    asks = several(shape, ask)
    with grpc.insecure_channel(pair.way.address) as channel:
        stub: Any = mirror_pb2_grpc.MirrorServiceStub(channel)
        how = pair.asking({"metadata": METADATA})
        seen = await asyncio.to_thread(see_sync, stub, shape, asks, **how)
    assert seen == await see(pair.straight, shape, asks, metadata=METADATA)


# -- streams ------------------------------------------------------------------------------------------------------------


@each_shape
async def test_empty_streams(pair: Pair, shape: str) -> None:
    asks = [Ask()] if take_one(shape) else []
    seen = await pair.same(shape, *asks)
    assert seen.code is grpc.StatusCode.OK


@pytest.mark.slow
@streams
async def test_a_thousand_answers(pair: Pair, shape: str) -> None:
    seen = await pair.same(shape, Ask(text="t", answers=1000, answer_bytes=100))
    assert len(seen.answers) >= 1000


@pytest.mark.slow
@takes_stream
async def test_a_thousand_requests(pair: Pair, shape: str) -> None:
    asks = [Ask(text=f"t{n}", blob=bytes(100)) for n in range(1000)]
    seen = await pair.same(shape, *asks)
    assert seen.answers[-1][3] == 1000


@streams
async def test_a_failure_amid_a_stream(pair: Pair, shape: str) -> None:
    seen = await pair.same(shape, Ask(text="t", answers=5, code=13, message="half way", trailers=TRAILERS))
    assert len(seen.answers) >= 5
    assert seen.code is grpc.StatusCode.INTERNAL


@streams
async def test_a_failure_amid_a_stream_with_initial_metadata(pair: Pair, shape: str) -> None:
    ask = Ask(text="t", answers=5, code=13, message="half way", headers=HEADERS)
    seen = await see(pair.stub, shape, [ask], **pair.asking({}))
    assert (seen.code, seen.message) == (grpc.StatusCode.INTERNAL, "half way")
    assert len(seen.answers) >= 5
    assert len(seen.headers) == len(HEADERS)


@only_both
async def test_question_and_answer(pair: Pair, shape: str) -> None:
    call = pair.open(shape, timeout=ENOUGH_S)
    for number in range(20):
        await call.write(Ask(text=str(number)))
        assert (await call.read()).text == str(number)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


@only_both
async def test_the_callee_goes_on_after_the_half_close(pair: Pair, shape: str) -> None:
    seen = await pair.same(shape, Ask(text="a", answers=50), Ask(text="b"))
    assert len(seen.answers) == 52


@takes_stream
async def test_the_callee_ends_before_the_half_close(pair: Pair, shape: str) -> None:
    call = pair.open(shape, timeout=ENOUGH_S)
    for number in range(2):
        await call.write(Ask(text=str(number), stop_after=2, trailers=TRAILERS))
    seen = await watch(call)
    assert seen.code is grpc.StatusCode.OK
    assert seen.answers[-1][3] == 2
    assert len(seen.trailers) == len(TRAILERS)


@takes_stream
async def test_the_callee_fails_before_the_half_close(pair: Pair, shape: str) -> None:
    call = pair.open(shape, timeout=ENOUGH_S)
    await call.write(Ask(text="a", stop_after=1, code=3, message="enough"))
    seen = await watch(call)
    assert (seen.code, seen.message) == (grpc.StatusCode.INVALID_ARGUMENT, "enough")


@each_shape
@pytest.mark.parametrize("headers", [[], HEADERS], ids=["bare", "some"])
async def test_initial_metadata_comes_before_the_first_answer(
    pair: Pair, shape: str, headers: list[Entry]
) -> None:
    if shape not in pair.way.early_shapes:
        pytest.skip("it comes with the first response, as docs/transparency.md says")
    call = pair.start(shape, Ask(text="a", answers=1, headers=headers, headers_first=True, wait_s=60))
    async with asyncio.timeout(10):
        received = tuple(await call.initial_metadata())
    assert len(received) == len(headers)
    assert not call.done()
    call.cancel()


@streams
async def test_initial_metadata_comes_with_the_first_answer(pair: Pair, shape: str) -> None:
    if shape not in pair.way.first_shapes:
        pytest.skip("not a shape of this way")
    call = pair.open(shape) if shape == "Both" else None
    ask = Ask(text="a", answers=1, headers=HEADERS, linger_s=60)
    if call is None:
        call = pair.start(shape, ask)
    else:
        await call.write(ask)
    async with asyncio.timeout(10):
        assert (await call.read()).text == "a"
        assert len(tuple(await call.initial_metadata())) == len(HEADERS)
    assert not call.done()
    call.cancel()


# -- nesting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [deep.LIMIT - 1, deep.LIMIT + 1, 1000])
async def test_messages_nest_as_deep_as_the_app_takes_them(pair: Pair, depth: int) -> None:
    with deep.unlimited():
        for shape in pair.way.shapes:
            ask = Ask(text="d", answers=1, answer_depth=depth)
            deep.nest(ask, depth)
            call = pair.start(shape, ask, timeout=ENOUGH_S)
            answer = await (call if shape in {"Unary", "Up"} else call.read())
            assert (answer.depth, deep.depth(answer)) == (depth, depth)


# -- sizes --------------------------------------------------------------------------------------------------------------


@each_shape
async def test_messages_of_3_mib(pair: Pair, shape: str) -> None:
    seen = await pair.same(shape, Ask(text="big", blob=bytes(3 * MIB), answers=1))
    assert seen.answers[0][1] == 3 * MIB


@pytest.mark.slow
@each_shape
async def test_a_request_over_4_mib(pair: Pair, shape: str) -> None:
    seen = await see(pair.stub, shape, [Ask(blob=bytes(4 * MIB + 1))], **pair.asking({}))
    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than" in seen.message or "limit" in seen.message


@each_shape
async def test_an_answer_over_4_mib(pair: Pair, shape: str) -> None:
    ask = Ask(text="a", answer_bytes=4 * MIB + 1, answers=1)
    seen = await see(pair.stub, shape, [ask], **pair.asking({}))
    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than" in seen.message or "limit" in seen.message


async def test_metadata_over_the_limit(pair: Pair) -> None:
    # At once: gRPC itself takes some 0.1 s, and now and then 0.9 s, to refuse one.
    large = (("x-large", "x" * MAX_METADATA_BYTES),)
    # What the app itself takes is the app's: one with gRPC's defaults refuses far less.
    asked = pair.asking({"metadata": large})
    for seen in await asyncio.gather(
        *(see(pair.stub, shape, [Ask(text="a")], **asked) for shape in pair.way.shapes)
    ):
        assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "metadata" in seen.message


@pytest.mark.parametrize("kib", [300, 900])
async def test_large_details(wide: Pair, kib: int) -> None:
    for shape in wide.way.shapes:
        ask = Ask(text="l", code=9, message="no", reason="R" * (kib << 10), headers=HEADERS, answers=1)
        seen = await wide.same(shape, ask)
        assert seen.reasons == (ask.reason,)


async def test_details_beyond_what_an_answer_carries(wide: Pair) -> None:
    # Behind a sidecar it is the app's connection that carries no more.
    size_bytes = (
        MAX_ANSWER_BYTES if isinstance(wide.way, IngressDurable | EgressDurable) else MAX_METADATA_BYTES
    )
    ask = Ask(text="l", code=9, message="no", reason="R" * size_bytes)
    seen = await see(wide.stub, "Unary", [ask], **wide.asking({}))
    if wide.way.once:
        # gRPC's own answer, of a stock server too.
        assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        return
    assert seen.code is grpc.StatusCode.FAILED_PRECONDITION
    assert seen.message.startswith("no (left out, for an answer carries")
    assert seen.reasons == ("METADATA_LEFT_OUT",)


async def test_metadata_of_a_success_beyond_what_an_answer_carries(wide: Pair) -> None:
    large = [Entry(key="t-large", value=b"x" * MAX_METADATA_BYTES)]
    seen = await see(wide.stub, "Unary", [Ask(text="l", trailers=large)], **wide.asking({}))
    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "metadata" in seen.message


@each_shape
async def test_compression(pair: Pair, shape: str) -> None:
    ask = Ask(text="a" * 10_000, gzip=True, answers=1)
    await pair.same(shape, ask, compression=grpc.Compression.Gzip)


# -- time and cancellation ----------------------------------------------------------------------------------------------


@each_shape
async def test_the_deadline_is_seen(pair: Pair, shape: str) -> None:
    call = pair.start(shape, Ask(text="a", answers=1), timeout=20)
    answer = await call if shape in {"Unary", "Up"} else await call.read()
    assert 15 < answer.time_left_s <= 21, "grpc rounds up, at each hop"


async def test_a_deadline_passes(pair: Pair, ledger: Ledger) -> None:
    async def one(shape: str) -> None:
        ask = Ask(text=shape, wait_s=60, answers=1, ledger=ledger.path)
        # Which end sees it first, and so what words it is told in, is chance with a stock server, too.
        seen = await watch(pair.start(shape, ask, timeout=0.4))
        assert (seen.code, seen.answers) == (grpc.StatusCode.DEADLINE_EXCEEDED, [])
        await ledger.until("cancelled", shape)

    await asyncio.gather(*map(one, pair.way.shapes))


@each_shape
async def test_the_caller_cancels(pair: Pair, shape: str, ledger: Ledger) -> None:
    call = pair.start(shape, Ask(text="stop", wait_s=60, answers=1, ledger=ledger.path))
    await ledger.until("start", "stop")
    call.cancel()
    await ledger.until("cancelled", "stop")


@streams
async def test_the_caller_cancels_amid_a_stream(pair: Pair, shape: str, ledger: Ledger) -> None:
    call = pair.start(shape, Ask(text="stop", answers=3, linger_s=60, ledger=ledger.path))
    for _ in range(3):
        await call.read()
    call.cancel()
    await ledger.until("cancelled", "stop")


@each_shape
async def test_a_caller_that_goes_away_cancels(pair: Pair, shape: str, ledger: Ledger) -> None:
    async with pair.way.channel() as channel:
        ask = Ask(text="gone", wait_s=60, answers=1, ledger=ledger.path)
        stub = mirror_pb2_grpc.MirrorServiceStub(channel)
        call = start(stub, shape, [ask], **pair.asking({}))
        await ledger.until("start", "gone")
    del call
    await ledger.until("cancelled", "gone")


# -- many ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_shape
async def test_a_hundred_at_a_time(pair: Pair, shape: str) -> None:

    async def one(number: int) -> Seen:
        ask = Ask(text=str(number), answers=3, blob=bytes(1000), wait_s=0.05)
        return await see(pair.stub, shape, several(shape, ask), **pair.asking({}))

    calls = await asyncio.gather(*(one(number) for number in range(100)))
    assert all(seen.code is grpc.StatusCode.OK for seen in calls)
    assert [seen.answers[0][0].split()[0] for seen in calls] == [str(number) for number in range(100)]


async def test_a_reader_that_stops_stops_the_callee(pair: Pair) -> None:
    if not pair.way.early_headers:
        pytest.skip("a task's progress is stored")
    ask = Ask(text="fast", answers=40, answer_bytes=MIB)
    call = pair.start("Down", ask, timeout=ENOUGH_S)
    first = await call.read()
    assert first.index == 0
    # Nothing is lost for having waited, and it all comes in its order.
    rest = [answer.index async for answer in _rest(call)]
    assert rest == list(range(1, 40))


async def _rest(call: Any) -> AsyncIterator[mirror_pb2.Answer]:
    while (answer := await call.read()) is not grpc.aio.EOF:
        yield answer
