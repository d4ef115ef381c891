"""`weft events consume`: events that a command deals with, each acknowledged when it is. CloudEvents by commands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from weft.client import Mesh, NewEvent, connect
from weft.client.cloud_event_format import ProtobufFormat
from weft.client.cloud_events import to_cloudevent

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(missed_heartbeats=10)
        async with LightAgent(harness.own_channel(), "a1", methods=(ECHO,)), connect(harness.target) as mesh:
            await harness.wait_serving()
            await mesh.events.publish_all(
                [NewEvent(ProbeRequest(text=str(number)), key=f"k{number}") for number in range(1, 6)]
            )
            yield mesh


def consume(mesh: Mesh, *words: str) -> Any:
    return weft("events", "consume", *words, target=mesh.target)


def numbers(out: str) -> list[int]:
    return [json.loads(text)["sequence"] for text in out.splitlines()]


async def test_what_is_printed_does_not_come_again(mesh: Mesh) -> None:
    done = await consume(mesh, "printed", "ProbeRequest", "--after", "0", "--count", "2", "--json")
    assert done.status == 0, done
    assert numbers(done.out) == [1, 2]
    assert (await consume(mesh, "printed", "ProbeRequest", "--count", "1")).out.rstrip().endswith('"3"}')
    # The place is kept, and is that of the command.
    assert (await mesh.subscriptions.get("printed")).cursor == 3


async def test_a_command_deals_with_events(mesh: Mesh, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = tmp_path / "deal.sh"
    # It fails at event 3 until it may go on.
    script.write_text(
        "#!/bin/sh\n"
        f'[ "$WEFT_EVENT_SEQUENCE" = 3 ] && [ ! -e {tmp_path}/may ] && exit 7\n'
        f'{{ printf "%s %s %s " "$WEFT_EVENT_TOPIC" "$WEFT_EVENT_SEQUENCE" "$WEFT_EVENT_KEY"; cat; }} >> {seen}\n'
    )
    script.chmod(0o755)
    words = ("dealt", "ProbeRequest", "--after", "0", "--count", "4", "--exec", str(script))
    done = await consume(mesh, *words)
    assert done.status == 1
    assert "ended with status 7: event 3 of probe.v1.ProbeRequest is not acknowledged" in done.err
    (tmp_path / "may").touch()
    done = await consume(mesh, *words[:2], "--count", "3", *words[-2:])
    assert done.status == 0, done
    lines = [text.split(" ", 3) for text in seen.read_text().splitlines()]
    assert [(topic, number, key) for topic, number, key, _ in lines] == [
        ("probe.v1.ProbeRequest", str(number), f"k{number}") for number in range(1, 6)
    ]
    assert [json.loads(text)["message"]["text"] for *_, text in lines] == ["1", "2", "3", "4", "5"]


async def test_a_command_that_hangs_is_killed(mesh: Mesh) -> None:
    words = ("late", "ProbeRequest", "--after", "0", "--exec", "sleep 60", "--limit-s", "0.2")
    done = await consume(mesh, *words)
    assert done.status == 1
    assert "sleep did not end within 0.2 s: event 1" in done.err
    assert (await mesh.subscriptions.get("late")).cursor == 0


async def test_wrong_use(mesh: Mesh) -> None:
    for words, status, what in (
        (("n", "ProbeRequest", "--exec", "no-such-program"), 2, "there is no program 'no-such-program'"),
        (("n", "ProbeRequest", "--exec", "'"), 2, "No closing quotation"),
        (("n", "ProbeRequest", "--after", "1", "--since", "2030-01-01"), 2, "not both"),
        (("n", "ProbeRequest", "--filter", "event.no"), 1, "undefined field 'no'"),
        (("n n", "ProbeRequest"), 1, "name"),
        (("n", "NoSuchType"), 2, "there is no message type 'NoSuchType'"),
    ):
        done = await consume(mesh, *words)
        assert done.status == status, done
        assert what in done.err


async def test_events_are_acknowledged_in_any_order(mesh: Mesh) -> None:
    taken = mesh.subscriptions.consume("any-order", ProbeRequest, after=0, partitions=1)
    async with aclosing(taken) as events:
        found = [await anext(events) for _ in range(3)]
        # Those before the last one were acknowledged when the next one was asked for.
        found[2].acknowledge()
        found[0].acknowledge()
    # The end of the stream has told it.
    assert (await mesh.subscriptions.get("any-order")).cursor == 3


@pytest.mark.slow
async def test_cloudevents(mesh: Mesh, tmp_path: Path) -> None:
    place = tmp_path / "event.json"
    document = {
        "specversion": "1.0",
        "type": "com.acme.probed",
        "dataschema": "type.googleapis.com/probe.v1.ProbeReply",
        "source": "/acme",
        "id": "1",
        "time": "2030-01-31T12:00:00Z",
        "partitionkey": "k",
        "data": {"text": "a"},
    }
    place.write_text(json.dumps(document))

    def events(*words: str, **options: Any) -> Any:
        return weft("events", *words, target=mesh.target, **options)

    done = await events("publish", "--cloudevent", str(place))
    assert (done.status, done.out) == (0, "1\n"), done
    # The same CloudEvent is the same event; another source has ids of its own.
    both = json.dumps([document, document | {"source": "/other"}])
    done = await events("publish", "--cloudevent", "-", "--json", stdin=both)
    assert [(each["sequence"], each["existed"]) for each in done.documents] == [(1, True), (2, False)]
    (event, _) = [event async for event in mesh.events.list(ProbeReply)]
    assert (event.message.text, event.key, event.attributes["cetype"]) == ("a", "k", "com.acme.probed")
    tail = await events("tail", "ProbeReply", "--after", "0", "--count", "2", "--cloudevents")
    shown = tail.documents[0]
    assert shown == document | {"datacontenttype": "application/json", "weftsequence": "1"}
    # And in protobuf.
    binary = tmp_path / "event.binpb"
    binary.write_bytes(ProtobufFormat().write(to_cloudevent(event)))
    assert (await events("publish", "--cloudevent", str(binary), "--json")).document["existed"]
    for words, text, status, what in (
        (("--cloudevent", "-"), "{", 2, "cannot read standard input"),
        (("--cloudevent", "-"), "[1]", 2, "CloudEvent 1 is not valid: it is no JSON object"),
        (("--cloudevent", "-"), "{}", 2, "the CloudEvent is not valid"),
        (("--cloudevent", "-"), json.dumps(document | {"data": {"no": 1}}), 1, "no"),
        (("--cloudevent", "-"), json.dumps(document | {"dataschema": "x"}), 2, "'com.acme.probed'"),
        (("--cloudevent", str(tmp_path / "none.binpb")), "", 2, "No such file"),
        (("--cloudevent", "-", "ProbeReply", "{}"), "{}", 2, "has its own message"),
        (("ProbeReply",), "", 2, "give a TYPE and its message"),
    ):
        done = await events("publish", *words, stdin=text)
        assert done.status == status, done
        assert what in done.err
