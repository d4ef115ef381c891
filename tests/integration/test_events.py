"""Events by the library, with and without asyncio, by the command and by a stock client; what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from tests.support.shared_redis import two_coordinators
from weft.client import Event, FailedPrecondition, Mesh, NewEvent, NotFound, connect
from weft.client.sync import connect as connect_sync
from weft.v1 import errors_pb2, event_pb2_grpc
from weft.v1.event_pb2 import (
    Event as EventMessage,
)
from weft.v1.event_pb2 import (
    ListEventsRequest,
    ListTopicsRequest,
    PublishEventsRequest,
    SubscribeEventsRequest,
)
from weft.v1.event_pb2 import (
    NewEvent as NewEventMessage,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC, OTHER = "probe.v1.ProbeRequest", "probe.v1.ProbeReply"
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(missed_heartbeats=10)
        async with LightAgent(harness.own_channel(), "a1", methods=(ECHO,)):
            await harness.wait_serving()
            yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(harness: MeshHarness) -> AsyncIterator[Mesh]:
    async with connect(harness.target) as mesh:
        yield mesh


@pytest.fixture
def stub(harness: MeshHarness) -> event_pb2_grpc.EventServiceStub:
    return event_pb2_grpc.EventServiceStub(harness.channel())


def request(text: str) -> ProbeRequest:
    return ProbeRequest(text=text)


async def last_of(mesh: Mesh, topic: str = TOPIC) -> int:
    return max([each.last async for each in mesh.events.topics() if each.name == topic], default=0)


class Follower:
    """A subscription in a task of its own."""

    def __init__(self, mesh: Mesh, count: int, **options: Any) -> None:
        self.events: list[Event[ProbeRequest]] = []
        self.started = asyncio.Event()
        self._stream = mesh.events.subscribe(ProbeRequest, on_start=lambda _: self.started.set(), **options)
        self.task = asyncio.create_task(self._follow(count))

    async def _follow(self, count: int) -> None:
        async with aclosing(self._stream) as events:
            async for event in events:
                self.events.append(event)
                if len(self.events) == count:
                    return

    async def texts(self) -> list[str]:
        await asyncio.wait_for(self.task, 20)
        return [event.message.text for event in self.events]


async def test_published_events_reach_every_subscriber(mesh: Mesh) -> None:
    before = await last_of(mesh)
    followers = [Follower(mesh, 3) for _ in range(3)]
    for follower in followers:
        await asyncio.wait_for(follower.started.wait(), 20)
    began = datetime.now(UTC)
    published = await mesh.events.publish(request("1"), key="k", attributes={"source": "/test", "x9": "ü"})
    assert (published.sequence, published.existed) == (before + 1, False)
    again = await mesh.events.publish(request("1"), event_id=published.id)
    assert (again.sequence, again.existed) == (before + 1, True)
    both = await mesh.events.publish_all([NewEvent(request("2")), request("3"), ProbeReply(text="other")])
    assert [each.sequence for each in both[:2]] == [before + 2, before + 3]
    for follower in followers:
        assert await follower.texts() == ["1", "2", "3"]
        first = follower.events[0]
        assert (first.topic, first.sequence, first.key, first.id) == (TOPIC, before + 1, "k", published.id)
        assert first.attributes == {"source": "/test", "x9": "ü"}
        assert first.missed == 0
        assert first.published_at is not None
        assert abs((first.published_at - began).total_seconds()) < 10


async def test_a_reader_begins_where_it_says(mesh: Mesh) -> None:
    before = await last_of(mesh)
    for text in "abc":
        await mesh.events.publish(request(text))
    assert await Follower(mesh, 2, after=before + 1).texts() == ["b", "c"]
    listed = [event async for event in mesh.events.list(ProbeRequest, after=before)]
    assert [event.message.text for event in listed] == ["a", "b", "c"]
    assert [event.message async for event in mesh.events.list(TOPIC, after=before + 2)] == [
        request("c").SerializeToString()
    ]
    since = listed[1].published_at
    assert (await Follower(mesh, 2, since=since).texts())[-1] == "c"
    with pytest.raises(FailedPrecondition) as ahead:
        await Follower(mesh, 1, after=10**9).texts()
    assert ahead.value.reason == errors_pb2.ERROR_REASON_CURSOR_AHEAD
    with pytest.raises(NotFound) as unknown:
        await anext(mesh.events.subscribe("acme.v1.Nothing"))
    assert unknown.value.reason == errors_pb2.ERROR_REASON_EVENT_TYPE_UNKNOWN


async def test_without_asyncio(harness: MeshHarness) -> None:
    def work() -> list[str]:
        with connect_sync(harness.target) as mesh:
            place = mesh.events.publish(request("x")).sequence
            mesh.events.publish(request("y"))
            with closing(mesh.events.subscribe(ProbeRequest, after=place - 1)) as events:
                return [next(events).message.text for _ in range(2)]

    assert await asyncio.to_thread(work) == ["x", "y"]


async def test_the_command(harness: MeshHarness) -> None:
    def command(*words: str) -> Any:
        return weft("events", *words, target=harness.target)

    done = await command("publish", "ProbeRequest", '{"text": "by hand"}', "--key", "k", "--attribute", "a=b")
    assert done.status == 0, done
    place = int(done.out)
    done = await command("publish", TOPIC, '{"text": "again"}', "--json")
    assert json.loads(done.out)["sequence"] == place + 1
    done = await command("tail", "ProbeRequest", "--after", str(place - 1), "--count", "2", "--json")
    first, second = map(json.loads, done.out.splitlines())
    assert (first["message"], first["key"], first["attributes"]) == ({"text": "by hand"}, "k", {"a": "b"})
    assert second["message"] == {"text": "again"}
    done = await command("list", TOPIC, "--after", str(place))
    assert f'{place + 1} {{"text": "again"}}' in done.out
    assert TOPIC in (await command("list")).out
    wrong = (
        (("publish", "NoSuchType", "{}"), 2, "there is no message type 'NoSuchType'"),
        (("publish", TOPIC, '{"no": 1}'), 1, "the JSON does not fit probe.v1.ProbeRequest: field no"),
        (("tail", TOPIC, "--since", "noon"), 2, "--since is 'noon'"),
        (("tail", TOPIC, "--since", "2030-01-01", "--after", "1"), 2, "not both"),
        (("list", "--after", "1"), 2, "give a TYPE"),
        (("tail", TOPIC, "--after", "999999"), 1, "is ahead of"),
    )
    for done, (_, status, what) in zip(
        await asyncio.gather(*(command(*words) for words, _, _ in wrong)), wrong, strict=True
    ):
        assert done.status == status, done
        assert what in done.err


@pytest.mark.parametrize(
    ("event", "code", "reason", "field"),
    [
        ({"topic": ""}, INVALID, "INVALID_FIELD", "events[1].topic"),
        ({"topic": "no/topic"}, INVALID, "INVALID_FIELD", "events[1].topic"),
        ({"topic": "a." * 200 + "b"}, INVALID, "INVALID_FIELD", "events[1].topic"),
        ({"topic": "weft.v1.Event"}, INVALID, "INVALID_FIELD", "events[1].topic"),
        ({"topic": "acme.v1.Nothing"}, NOT_FOUND, "EVENT_TYPE_UNKNOWN", None),
        ({"topic": "probe.v1.ProbeService"}, NOT_FOUND, "EVENT_TYPE_UNKNOWN", None),
        ({"payload": b"\xff\xff"}, INVALID, "PAYLOAD_MALFORMED", "events[1].payload"),
        ({"payload": b"x" * 1048577}, grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE", None),
        ({"id": "with space"}, INVALID, "INVALID_FIELD", "events[1].id"),
        ({"id": "x" * 129}, INVALID, "INVALID_FIELD", "events[1].id"),
        ({"key": "ü" * 129}, INVALID, "INVALID_FIELD", "events[1].key"),
        ({"attributes": {"Upper": ""}}, INVALID, "INVALID_FIELD", "events[1].attributes"),
        ({"attributes": {"type": "t"}}, INVALID, "INVALID_FIELD", "events[1].attributes"),
        ({"attributes": {"a": "x" * 1025}}, INVALID, "INVALID_FIELD", "events[1].attributes"),
        (
            {"attributes": {f"a{n}": "" for n in range(33)}},
            INVALID,
            "INVALID_FIELD",
            "events[1].attributes",
        ),
    ],
)
async def test_bad_events_are_refused_with_all_others(
    mesh: Mesh, stub: Any, event: dict[str, Any], code: Any, reason: str, field: str | None
) -> None:
    before = await last_of(mesh)
    good = NewEventMessage(topic=TOPIC)
    bad = NewEventMessage(**{"topic": TOPIC, **event})
    check(await refused(stub.PublishEvents(PublishEventsRequest(events=[good, bad]))), code, reason, field)
    assert await last_of(mesh) == before


async def test_bad_requests_are_refused(mesh: Mesh, stub: Any) -> None:
    many = [NewEventMessage(topic=TOPIC)] * 1001
    for call, field in (
        (stub.PublishEvents(PublishEventsRequest()), "events"),
        (stub.PublishEvents(PublishEventsRequest(events=many)), "events"),
        (stub.SubscribeEvents(SubscribeEventsRequest(topic="no topic")), "topic"),
        (stub.SubscribeEvents(SubscribeEventsRequest(topic=TOPIC, after=2**63)), "after"),
        (stub.SubscribeEvents(SubscribeEventsRequest(topic=TOPIC, since={"seconds": -1})), "since"),
        (stub.SubscribeEvents(SubscribeEventsRequest(topic=TOPIC, since={"nanos": -1})), "since"),
        (stub.ListEvents(ListEventsRequest(topic=TOPIC, page_size=1001)), "page_size"),
        (stub.ListEvents(ListEventsRequest(topic=TOPIC, after=2**64 - 1)), "after"),
        (stub.ListTopics(ListTopicsRequest(page_token="no/topic")), "page_token"),
        (stub.ListTopics(ListTopicsRequest(page_size=1001)), "page_size"),
    ):
        check(await refused(call), INVALID, "INVALID_FIELD", field)
    ahead = grpc.StatusCode.FAILED_PRECONDITION, "CURSOR_AHEAD"
    check(await refused(stub.ListEvents(ListEventsRequest(topic=OTHER, after=10**6))), *ahead)
    check(await refused(stub.SubscribeEvents(SubscribeEventsRequest(topic=OTHER, after=10**6))), *ahead)
    # 4 MiB are too many together.
    big = NewEventMessage(topic=TOPIC, payload=request("x" * 1_000_000).SerializeToString())
    status = await refused(stub.PublishEvents(PublishEventsRequest(events=[big] * 5)))
    check(status, grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE", "events")


async def test_a_slow_subscriber_is_told_and_harms_nobody(mesh: Mesh, stub: Any) -> None:
    """It does not read while far more is published than anybody keeps for it."""
    slow = stub.SubscribeEvents(SubscribeEventsRequest(topic=TOPIC, keep_up=True))
    await slow.read()
    before = await last_of(mesh)
    batch = [NewEvent(request("x" * 50_000))] * 60
    portions, each = 15, len(batch)
    follower = Follower(mesh, portions * each, after=before)
    for _ in range(portions):
        await mesh.events.publish_all(batch)
    assert len(await follower.texts()) == portions * each
    assert [event.sequence for event in follower.events] == [before + n + 1 for n in range(portions * each)]
    seen, missed, position = 0, 0, before
    while position < before + portions * each:
        response = await asyncio.wait_for(slow.read(), 20)
        missed += response.missed
        for event in response.events:
            assert isinstance(event, EventMessage)
            seen += 1
            assert event.sequence == before + seen + missed
        position = response.cursor
    assert missed > 0
    assert seen + missed == portions * each
    slow.cancel()


async def test_events_go_over_two_coordinators(tmp_path: Path) -> None:
    """Each subscriber gets what is published at either; it goes on at the other one when its own is killed."""
    async with (
        MeshHarness(tmp_path) as one,
        two_coordinators(one, tmp_path) as (_, other),
        LightAgent(other.own_channel(), "a1", methods=(ECHO,)),
        connect([one.target, other.target]) as both,
        connect(one.target) as here,
        connect(other.target) as there,
    ):
        await one.wait_serving()
        followers = [Follower(both, 40), Follower(there, 40)]
        for follower in followers:
            await asyncio.wait_for(follower.started.wait(), 20)
        for number in range(10):
            await asyncio.gather(
                here.events.publish(request(f"a{number}")), there.events.publish(request(f"b{number}"))
            )
        assert one.coordinator_process is not None
        await one.coordinator_process.kill()
        for number in range(20):
            await there.events.publish(request(f"c{number}"))
        first, second = [await follower.texts() for follower in followers]
        assert first == second
        published = [*(f"{who}{n}" for who in "ab" for n in range(10)), *(f"c{n}" for n in range(20))]
        assert sorted(first) == sorted(published)
        assert [event.sequence for event in followers[0].events] == list(range(1, 41))
