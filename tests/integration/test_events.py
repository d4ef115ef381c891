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
from tests.support.lightweight import CALL, ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from tests.support.shared_redis import two_coordinators
from weft.agent import Agent
from weft.client import Event, FailedPrecondition, InvalidArgument, Mesh, NewEvent, NotFound, connect
from weft.client.sync import connect as connect_sync
from weft.v1 import coordinator_pb2, errors_pb2, event_pb2_grpc
from weft.v1.event_pb2 import (
    CreateSubscriptionRequest,
    EventDelivery,
    ListEventsRequest,
    ListSubscriptionsRequest,
    ListTopicsRequest,
    PublishEventsRequest,
    SubscribeEventsRequest,
    SubscriptionSpec,
)
from weft.v1.event_pb2 import (
    Event as EventMessage,
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


@pytest.mark.slow
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
    done = await command("subscribe", "mine", "Payload", ECHO, "--filter", "size(event.data) > 2", "--json")
    assert done.document["filter"] == "size(event.data) > 2", done
    assert "mine" in (await command("subscriptions")).out
    assert (await command("pause", "mine", "--reason", "tea")).out == "mine paused\n"
    assert (await command("seek", "mine", "--after", "0")).out == "mine paused\n"
    assert (await command("unsubscribe", "mine")).out == "mine deleted\n"
    wrong = (
        (("seek", "mine"), 2, "by --after or by --since"),
        (("resume", "mine"), 1, "no subscription has the name 'mine'"),
        (("tail", TOPIC, "--filter", "event.no"), 1, "undefined field 'no'"),
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


async def test_a_filter_chooses(mesh: Mesh) -> None:
    before = await last_of(mesh)
    for text in ("a", "bb", "ccc", "d"):
        await mesh.events.publish(request(text), key=text[0])
    long = Follower(mesh, 2, after=before, filter="size(event.text) > 1 && key != 'x'")
    assert await long.texts() == ["bb", "ccc"]
    assert [event.missed for event in long.events] == [0, 0]
    with pytest.raises(InvalidArgument) as refused:
        await Follower(mesh, 1, filter="event.nothing == 1").texts()
    assert refused.value.reason == errors_pb2.ERROR_REASON_FILTER_INVALID
    assert "undefined field 'nothing'" in refused.value.message


async def tasks_of(harness: MeshHarness, agent: LightAgent, count: int) -> list[tuple[str, dict[str, bytes]]]:
    """The texts and metadata of assigned tasks, when there are so many."""

    async def there() -> bool:
        return len(agent.assigned) >= count

    await harness.eventually(there, "the events are tasks")
    return [
        (
            ProbeRequest.FromString(each.payload).text,
            {entry.key: entry.value for entry in each.context.metadata},
        )
        for each in agent.assigned
    ]


async def test_events_go_with_a_task(harness: MeshHarness, mesh: Mesh) -> None:
    """Both are stored, or none: a refused event keeps the task out, and a repeat publishes nothing."""
    before = await last_of(mesh)
    events = [NewEvent(request("with a task"), key="k"), request("and another")]
    first = await mesh.tasks.submit(ECHO, b"", request_id="with-events", publish=events)
    again = await mesh.tasks.submit(ECHO, b"", request_id="with-events", publish=events)
    assert (again.id, again.existed) == (first.id, True)
    assert await Follower(mesh, 2, after=before).texts() == ["with a task", "and another"]
    assert await last_of(mesh) == before + 2
    bad = coordinator_pb2.SubmitTaskRequest(
        method=ECHO, events=[NewEventMessage(topic=TOPIC), NewEventMessage(topic=TOPIC, payload=b"\xff")]
    )
    check(await refused(harness.api().SubmitTask(bad)), INVALID, "PAYLOAD_MALFORMED", "events[1].payload")
    many = coordinator_pb2.SubmitTaskRequest(method=ECHO, events=[NewEventMessage(topic=TOPIC)] * 101)
    check(await refused(harness.api().SubmitTask(many)), INVALID, "INVALID_FIELD", "events")
    assert await last_of(mesh) == before + 2


async def test_events_become_tasks(harness: MeshHarness, mesh: Mesh) -> None:
    place = (await mesh.events.publish(request("before"))).sequence
    async with LightAgent(harness.own_channel(), "a2", methods=(CALL,)) as agent:
        await harness.wait_contract("a2")
        made = await mesh.subscriptions.create(
            "big",
            ProbeRequest,
            CALL,
            filter="event.text.startsWith('yes')",
            priority=7,
            metadata=[("x-of", "me")],
        )
        assert (made.cursor, made.topic, made.method) == (place, TOPIC, CALL)
        again = await mesh.subscriptions.create(
            "big",
            ProbeRequest,
            CALL,
            filter="event.text.startsWith('yes')",
            priority=7,
            metadata=[("x-of", "me")],
        )
        assert again.uid == made.uid
        await mesh.events.publish_all(
            [NewEvent(request(text), key="kü") for text in ("yes 1", "no", "yes 2")]
        )
        found = await tasks_of(harness, agent, 2)
        assert [text for text, _ in found] == ["yes 1", "yes 2"]
        told = found[1][1]
        assert told["x-of"] == b"me"
        assert told["event-sequence"] == str(place + 3).encode()
        assert (told["event-topic"], told["event-subscription"]) == (TOPIC.encode(), b"big")
        assert told["event-key-bin"] == "kü".encode()

        paused = await mesh.subscriptions.pause("big", "tea")
        assert (paused.paused, paused.pause_reason) == (True, "tea")
        await mesh.events.publish(request("yes 3"))
        await mesh.events.publish(request("no"))
        assert (await mesh.subscriptions.get("big")).submitted == 2
        await mesh.subscriptions.resume("big")
        assert (await tasks_of(harness, agent, 3))[2][0] == "yes 3"
        # Once more from a place.
        await mesh.subscriptions.seek("big", after=place + 2)
        assert [text for text, _ in await tasks_of(harness, agent, 5)][3:] == ["yes 2", "yes 3"]

        async def done() -> bool:
            return (await mesh.subscriptions.get("big")).cursor == place + 5

        await harness.eventually(done, "the cursor has moved")
        (listed,) = [each async for each in mesh.subscriptions.list() if each.name == "big"]
        assert (listed.submitted, listed.refused, listed.missed, listed.error) == (2, 0, 0, "")
        await mesh.subscriptions.delete("big")
        with pytest.raises(NotFound) as gone:
            await mesh.subscriptions.delete("big")
        assert gone.value.reason == errors_pb2.ERROR_REASON_SUBSCRIPTION_NOT_FOUND


@pytest.mark.parametrize(
    ("change", "code", "reason", "field"),
    [
        ({"name": ""}, INVALID, "INVALID_FIELD", "name"),
        ({"name": "on/x"}, INVALID, "INVALID_FIELD", "name"),
        ({"topic": "x/y"}, INVALID, "INVALID_FIELD", "spec.topic"),
        ({"topic": "acme.v1.No"}, NOT_FOUND, "EVENT_TYPE_UNKNOWN", None),
        ({"method": "acme.v1.No/No"}, NOT_FOUND, "METHOD_UNKNOWN", None),
        ({"topic": OTHER}, INVALID, "INVALID_FIELD", "spec.delivery.method"),
        ({"filter": "1 +"}, INVALID, "FILTER_INVALID", "spec.filter"),
        ({"after": 10**6}, grpc.StatusCode.FAILED_PRECONDITION, "CURSOR_AHEAD", None),
        ({"after": 2**60}, INVALID, "INVALID_FIELD", "after"),
    ],
)
async def test_bad_subscriptions_are_refused(
    stub: Any, change: dict[str, Any], code: Any, reason: str, field: str | None
) -> None:
    given: dict[str, Any] = {
        "name": "bad",
        "topic": "probe.v1.Payload",
        "method": ECHO,
        "filter": "",
        "after": 0,
    } | change
    spec = SubscriptionSpec(
        topic=given["topic"], filter=given["filter"], delivery=EventDelivery(method=given["method"])
    )
    asked = CreateSubscriptionRequest(name=given["name"], spec=spec, after=given["after"])
    check(await refused(stub.CreateSubscription(asked)), code, reason, field)
    assert not (await stub.ListSubscriptions(ListSubscriptionsRequest())).subscriptions


async def test_a_method_takes_events_by_its_option(tmp_path: Path) -> None:
    """Functions of an agent get events: those of before its start in its absence, in order by key, each once."""
    seen: list[str] = []
    big: list[str] = []

    def made() -> Agent:
        agent = Agent("a1", target=harness.target)

        @agent.on(ProbeRequest)
        async def note(event: ProbeRequest) -> None:
            seen.append(event.text)

        @agent.on(ProbeRequest, filter="event.stream_count > 1u", priority=9)
        def note_big(event: ProbeRequest) -> None:
            big.append(event.text)

        return agent

    async def serve(mesh: Mesh, texts: list[str]) -> None:
        agent = made()
        assert list(agent.methods) == ["probe.v1.OnProbeRequest/note", "probe.v1.OnProbeRequest/note_big"]
        running = asyncio.create_task(agent.serve())

        async def declared() -> bool:
            return len([each async for each in mesh.subscriptions.list() if each.declared]) == 2

        await harness.eventually(declared, "the subscriptions are there")
        for text in texts:
            await mesh.events.publish(ProbeRequest(text=text, stream_count=len(text)), key="one")

        async def there() -> bool:
            return len(seen) == published and len(big) == published_big

        await harness.eventually(there, "the events were handled")
        agent.stop()
        await running

    async with MeshHarness(tmp_path) as harness:
        await harness.coordinator()
        async with connect(harness.target) as mesh:
            published, published_big = 12, 6
            await serve(mesh, [*(f"{n}" * (1 + n % 2) for n in range(10)), "a", "bb"])
            await mesh.events.publish(ProbeRequest(text="alone", stream_count=5))
            published, published_big = 14, 8
            await serve(mesh, ["zz"])
            assert seen == [*(f"{n}" * (1 + n % 2) for n in range(10)), "a", "bb", "alone", "zz"]
            assert big == [text for text in seen if len(text) > 1]


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
