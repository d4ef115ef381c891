"""`weft bridge amqp` with a real RabbitMQ: messages become tasks once, and each gets its reply, whoever is killed."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.command import weft
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from tests.support.rabbitmq_server import RabbitmqServer
from tests.support.redis_server import free_port
from weft.v1 import coordinator_pb2

CALL = "probe.v1.ProbeService/Call"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WAIT_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RabbitmqServer]:
    async with RabbitmqServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@dataclass
class Sender:
    """A program that knows AMQP alone: it sends to a queue, and reads what comes back."""

    channel: Any
    queue: str
    replies_to: str = ""
    # By correlation id.
    replies: dict[str, list[aio_pika.abc.AbstractIncomingMessage]] = field(
        default_factory=lambda: defaultdict(list)
    )

    async def listen(self, queue: str) -> None:
        self.replies_to = queue
        made = await self.channel.declare_queue(queue, durable=True)

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            self.replies[message.correlation_id or ""].append(message)
            await message.ack()

        await made.consume(take)

    async def send(self, body: bytes | dict[str, Any], **properties: Any) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        properties.setdefault("delivery_mode", aio_pika.DeliveryMode.PERSISTENT)
        message = aio_pika.Message(text, **properties)
        await self.channel.default_exchange.publish(message, self.queue)

    async def ask(self, message_id: str, body: bytes | dict[str, Any], **properties: Any) -> Any:
        await self.send(body, message_id=message_id, reply_to=self.replies_to, **properties)
        await until(lambda: bool(self.replies[message_id]), f"{message_id} is answered", timeout_s=WAIT_S)
        return self.replies[message_id][-1]

    async def depth(self, queue: str) -> int:
        declared = await self.channel.declare_queue(queue, passive=True)
        count: int = declared.declaration_result.message_count
        return count

    async def dead(self, count: int) -> list[aio_pika.abc.AbstractIncomingMessage]:
        queue = await self.channel.get_queue(f"{self.queue}.dead")
        found = []
        async with asyncio.timeout(WAIT_S):
            while len(found) < count:
                if (message := await queue.get(fail=False)) is not None:
                    await message.ack()
                    found.append(message)
                await asyncio.sleep(0.01)
        return found


Senders = Callable[[str], Awaitable[Sender]]


@pytest.fixture
async def sender(broker: RabbitmqServer) -> AsyncIterator[Senders]:
    """Makes senders to a queue, which is made, too."""
    connections = []

    async def made(queue: str) -> Sender:
        connections.append(connection := await broker.connection())
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)
        made = Sender(channel, queue)
        await made.listen(f"{queue}.replies")
        return made

    yield made
    for connection in connections:
        await connection.close()


async def bridge(
    mesh: MeshHarness, broker: RabbitmqServer, queue: str, *words: str, name: str = "bridge"
) -> Process:
    log = mesh.folder / f"{name}-{queue}.log"
    before = log.read_text().count("bridge.ready") if log.exists() else 0
    process = Process.weft(
        name,
        *("bridge", "amqp", queue, CALL, "--target", mesh.target, *words),
        log=log,
        env={"WEFT_AMQP_URL": broker.url},
    )
    mesh.others.append(process)
    await until(
        lambda: process.output().count("bridge.ready") > before or not process.alive, "the bridge is ready"
    )
    assert process.alive, process.output()
    return process


async def begin(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", slots=8)
    await mesh.wait_serving()


@pytest.mark.slow
async def test_messages_are_answered_or_kept_with_the_reason(
    mesh: MeshHarness, broker: RabbitmqServer, sender: Senders
) -> None:
    await begin(mesh)
    asked = await sender("orders")
    process = await bridge(mesh, broker, "orders", "--header", "X-Tenant")

    headers = {"X-Tenant": "acme", "traceparent": PARENT}
    reply = await asked.ask("m1", {"text": "a"}, headers=headers, priority=3)
    answer = json.loads(reply.body)
    assert answer["text"] == "a"
    assert "x-tenant=acme" in answer["metadata"]
    stored = await mesh.api().GetTask(coordinator_pb2.GetTaskRequest(task_id=answer["taskId"]))
    assert (stored.task.options.context.traceparent, stored.task.options.priority) == (PARENT, 3)
    assert (reply.type, reply.message_id, reply.headers["weft-method"]) == (
        "weft.response",
        answer["taskId"],
        CALL,
    )
    # The same message once more is the same task.
    again = await asked.ask("m1", {"text": "a"}, headers={"X-Tenant": "acme"}, priority=3)
    assert again.message_id == reply.message_id

    binary = await asked.ask(
        "m2", ProbeRequest(text="b").SerializeToString(), content_type="application/protobuf"
    )
    assert ProbeReply.FromString(binary.body).text == "b"
    failed = await asked.ask("m3", {"text": "c", "failCode": 5, "failMessage": "no such order"})
    assert json.loads(failed.body) == {"code": "NOT_FOUND", "message": "no such order"}
    assert (failed.type, failed.headers["weft-code"]) == ("weft.error", "NOT_FOUND")

    wrong = await asked.ask("m4", b"{")
    assert json.loads(wrong.body)["code"] == "INVALID_ARGUMENT"
    # Another message of the same id.
    await asked.send({"text": "another"}, message_id="m1")
    await asked.send(b"\xff", message_id="m5", content_type="application/x-protobuf")
    dead = {message.headers["weft-reason"]: message for message in await asked.dead(3)}
    assert set(dead) == {"INVALID_ARGUMENT", "REQUEST_ID_REUSED", "PAYLOAD_MALFORMED"}
    again = dead["REQUEST_ID_REUSED"]
    assert (again.body, again.message_id, again.headers["weft-routing-key"]) == (
        b'{"text": "another"}',
        "m1",
        "orders",
    )
    assert "with another method or payload" in str(again.headers["weft-message"])

    # RabbitMQ's own queue for answers.
    direct: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    pseudo = await asked.channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    await pseudo.consume(direct.set_result, no_ack=True)
    await asked.send({"text": "d"}, message_id="m7", reply_to="amq.rabbitmq.reply-to")
    assert json.loads((await asyncio.wait_for(direct, WAIT_S)).body)["text"] == "d"

    # Nobody waits: it is acknowledged when it is stored.
    ledger = mesh.ledger()
    await asked.send({"text": "alone", "ledger": ledger.path}, message_id="m6")
    await ledger.until("end", "alone")
    assert await process.terminate() == 0
    assert await asked.depth("orders") == 0
    assert '"dead_letters": 3' in process.output()


@pytest.mark.slow
async def test_results_go_to_an_exchange_when_a_queue_takes_them(
    mesh: MeshHarness, broker: RabbitmqServer, sender: Senders
) -> None:
    await begin(mesh)
    asked = await sender("jobs")
    exchange = await asked.channel.declare_exchange("jobs.done", aio_pika.ExchangeType.TOPIC)
    process = await bridge(mesh, broker, "jobs", "--results", "jobs.done")
    await asked.send({"text": "a"}, message_id="m1")
    await until(lambda: "bridge.reply_unroutable" in process.output(), "no queue takes it")
    results = await asked.channel.declare_queue("jobs.results", durable=True)
    await results.bind(exchange, "#")
    async with asyncio.timeout(WAIT_S):
        while (message := await results.get(fail=False)) is None:
            await asyncio.sleep(0.01)
    assert json.loads(message.body)["text"] == "a"
    assert (message.routing_key, message.correlation_id) == ("jobs", "m1")


def texts(ledger: Ledger) -> list[str]:
    return sorted(fact.text for fact in ledger.facts("start"))


@pytest.mark.slow
@pytest.mark.real_starts
async def test_each_message_is_one_task_and_answered_whoever_is_killed(
    mesh: MeshHarness, broker: RabbitmqServer, sender: Senders
) -> None:
    await begin(mesh)
    asked = await sender("kills")
    first = await bridge(mesh, broker, "kills", "--window", "16")
    second = await bridge(mesh, broker, "kills", "--window", "16", name="second")
    ledger = mesh.ledger()
    names = [f"n{number:03}" for number in range(120)]
    for name in names:
        body = {"text": name, "sleepS": 0.1, "ledger": ledger.path}
        await asked.send(body, message_id=name, reply_to=asked.replies_to)
    await ledger.until("start", count=20)
    await first.kill()
    await ledger.until("start", count=40)
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    await mesh.restart_coordinator()
    await ledger.until("start", count=60, timeout_s=WAIT_S)
    # With its messages, and those that nobody has acknowledged.
    await broker.kill()
    await broker.start()
    reader = await sender("kills")
    await until(
        lambda: len(asked.replies.keys() | reader.replies.keys()) >= len(names),
        "all are answered",
        timeout_s=WAIT_S,
    )
    assert texts(ledger) == names
    for name in names:
        replies = asked.replies.get(name, []) + reader.replies.get(name, [])
        assert len({reply.message_id for reply in replies}) == 1
        assert {json.loads(reply.body)["text"] for reply in replies} == {name}
    assert await second.terminate() == 0, second.output()
    assert await reader.depth("kills") == 0
    assert await reader.depth("kills.dead") == 0


@pytest.mark.slow
async def test_what_is_under_way_comes_again_after_a_stop(
    mesh: MeshHarness, broker: RabbitmqServer, sender: Senders
) -> None:
    await begin(mesh)
    asked = await sender("stops")
    process = await bridge(mesh, broker, "stops")
    ledger = mesh.ledger()
    await asked.send(
        {"text": "long", "sleepS": 3.0, "ledger": ledger.path}, message_id="m1", reply_to=asked.replies_to
    )
    await ledger.until("start", "long")
    assert await process.terminate() == 0
    assert not ledger.facts("end")
    assert await asked.depth("stops") == 1
    await bridge(mesh, broker, "stops")
    await until(lambda: bool(asked.replies["m1"]), "it is answered", timeout_s=WAIT_S)
    assert texts(ledger) == ["long"]
    await asked.send({"text": "b"}, message_id="m2", reply_to="gone")
    await until(lambda: "bridge.reply_dropped" in mesh.others[-1].output(), "nobody waits any more")


@pytest.mark.slow
async def test_a_queue_that_is_none(mesh: MeshHarness, broker: RabbitmqServer) -> None:
    await begin(mesh)
    done = await weft("bridge", "amqp", "nope", CALL, "--broker", broker.url, target=mesh.target)
    assert (done.status, done.out) == (1, "")
    assert "there is no queue 'nope'" in done.err
    assert "guest:guest" not in done.err
    wrong = broker.url.replace("guest:guest", "guest:wrong")
    done = await weft("bridge", "amqp", "nope", CALL, "--broker", wrong, target=mesh.target)
    assert done.status == 1
    assert "refuses this user" in done.err
    assert "wrong" not in done.err


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        (["--broker", f"amqp://user:hunter2@127.0.0.1:{free_port()}"], 1, "cannot be reached"),
        (["--broker", "redis://127.0.0.1"], 2, "it must be amqp://"),
        (["--id", "nope"], 2, "must be message-id, correlation-id or none"),
        (["--body", "nope"], 2, "must be json or protobuf"),
        (["--header", "weft-x"], 2, "weft's"),
        (["--route", "nope"], 2, "KEY=VALUE"),
    ],
)
async def test_what_cannot_begin(shared_mesh: MeshHarness, words: list[str], status: int, what: str) -> None:
    done = await weft("bridge", "amqp", "orders", CALL, *words, target=shared_mesh.target)
    assert (done.status, done.out) == (status, "")
    assert what in done.err
    assert "hunter2" not in done.err


@pytest.mark.parametrize(
    ("method", "status", "what"),
    [
        ([], 2, "name it after the queue"),
        (["probe.v1.ProbeService/Nope"], 2, "there is no method 'probe.v1.ProbeService/Nope'; did you mean"),
        (["probe.v1.ProbeService/Stream"], 2, "a message has one reply"),
    ],
)
async def test_a_method_that_is_none(
    shared_mesh: MeshHarness, method: list[str], status: int, what: str
) -> None:
    done = await weft("bridge", "amqp", "orders", *method, target=shared_mesh.target)
    assert (done.status, done.out) == (status, "")
    assert what in done.err
