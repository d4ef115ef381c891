"""Outgoing hooks on real coordinators: ends of tasks and groups, and events, reach a real receiver, signed, until it takes them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from aiohttp import web

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import CALL, ECHO, LightAgent, result_of
from tests.support.namespaced import Sites, sites_on
from tests.support.receiver import Received, Receiver
from tests.support.refusals import check, refused
from weft.client import connect
from weft.coordinator.events.declared_subscriptions import DeclaredSubscriptions
from weft.coordinator.events.event_part import EventPart
from weft.coordinator.hooks import hook_client
from weft.coordinator.hooks.hook_client import HookClient, NotSent
from weft.coordinator.hooks.hook_request import HookRequest, together
from weft.coordinator.hooks.hook_signatures import verified
from weft.coordinator.hooks.outgoing_url import networks_of
from weft.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from weft.v1 import coordinator_pb2 as api
from weft.v1 import (
    event_pb2,
    event_pb2_grpc,
    group_pb2,
    group_pb2_grpc,
    hook_pb2,
    hook_pb2_grpc,
    method_pb2,
    method_pb2_grpc,
    session_pb2,
)
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub

DELIVER = "weft.hooks.v1.HookDelivery/Deliver"
TOPIC = "probe.v1.ProbeRequest"
QUICK = {"retry": {"initial_backoff": {"nanos": 1_000_000}, "max_backoff": {"nanos": 2_000_000}}}

pytestmark = pytest.mark.asyncio(loop_scope="module")


def failing(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    """Echo succeeds, and Call fails."""
    if assignment.method == ECHO:
        return result_of(assignment, response=assignment.payload)
    return result_of(assignment, status={"code": 9, "message": "no"})


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "redis"])
async def sites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Sites]:
    folder = tmp_path_factory.mktemp("hooks")
    settings = {"hook_hosts": "127.0.0.1,localhost,hooks.example.com", "hook_networks": "127.0.0.0/8"}
    async with (
        sites_on(request.param, folder, **settings) as made,
        LightAgent(made.channel(), "a1", slots=4, methods=(CALL, ECHO), answer=failing),
    ):
        for at in (0, 1):
            await known(made, at)
        yield made


async def known(sites: Sites, at: int) -> None:
    """Wait until a coordinator knows the agent's contract."""
    stub = method_pb2_grpc.MethodServiceStub(sites.channel(at=at))
    async with asyncio.timeout(20):
        while len((await stub.ListMethods(method_pb2.ListMethodsRequest(), timeout=10)).methods) < 2:
            await asyncio.sleep(0.02)


def stub_of(sites: Sites, at: int = 0) -> Any:
    return hook_pb2_grpc.HookServiceStub(sites.channel(at=at))


async def send(sites: Sites, name: str, url: str, **fields: Any) -> hook_pb2.CreateHookResponse:
    outgoing = hook_pb2.OutgoingHook(url=url, **{"options": QUICK, **fields})
    return await stub_of(sites).CreateHook(
        hook_pb2.CreateHookRequest(name=name, spec={"outgoing": outgoing}), timeout=20
    )


async def remove(sites: Sites, name: str) -> None:
    await stub_of(sites).DeleteHook(hook_pb2.DeleteHookRequest(name=name), timeout=10)


async def run(sites: Sites, method: str, **options: Any) -> str:
    stub = CoordinatorServiceStub(sites.channel())
    request = api.SubmitTaskRequest(method=method, payload=b"", options=options)
    task_id = (await stub.SubmitTask(request, timeout=10)).task.id
    async for _ in stub.WaitTasks(api.WaitTasksRequest(task_ids=[task_id]), timeout=10):
        pass
    return task_id


async def status_of(sites: Sites, task_id: str) -> Any:
    """How a task ended."""
    stub = CoordinatorServiceStub(sites.channel())
    async for _ in stub.WaitTasks(api.WaitTasksRequest(task_ids=[task_id]), timeout=20):
        pass
    asked = api.GetTaskRequest(task_id=task_id, view="TASK_VIEW_FULL")
    return (await stub.GetTask(asked, timeout=10)).task.outcome.status


async def publish(sites: Sites, text: str, at: int = 0) -> None:
    event = event_pb2.NewEvent(topic=TOPIC, payload=ProbeRequest(text=text).SerializeToString(), key="k")
    stub = event_pb2_grpc.EventServiceStub(sites.channel(at=at))
    await stub.PublishEvents(event_pb2.PublishEventsRequest(events=[event]), timeout=10)


def is_signed(got: Received, secret: str) -> bool:
    """Whether the rules by which we check Standard Webhooks take it."""
    request = HookRequest(got.body, together(got.headers.items()), {})
    now = float(got.headers["webhook-timestamp"])
    return bool(verified(request, hook_pb2.IncomingHook(kind=hook_pb2.HOOK_KIND_STANDARD), [secret], now))


async def test_events_are_sent_signed_and_sent_again_until_they_are_taken(sites: Sites) -> None:
    answers = iter([500, 503, 302])

    def answer(_: Received) -> web.Response:
        status = next(answers, 204)
        return web.Response(
            status=status, headers={"Location": "http://127.0.0.1:1/"} if status == 302 else {}
        )

    async with Receiver(answer) as receiver:
        made = await send(sites, "orders", f"{receiver.url}/in?x=1", events={"topic": TOPIC})
        assert made.secret.startswith("whsec_")
        await publish(sites, "first", at=1)
        got = await receiver.until(lambda all_: len(all_) == 4)
        assert {each.headers["webhook-id"] for each in got} == {got[0].headers["webhook-id"]}
        assert all(is_signed(each, made.secret) for each in got)
        document = json.loads(got[-1].body)
        assert document["data"] == {"text": "first"}
        assert (document["type"], document["subject"], document["specversion"]) == (TOPIC, "k", "1.0")
        assert got[-1].headers["content-type"].startswith("application/cloudevents+json")
        await publish(sites, "second")
        got = await receiver.until(lambda all_: len(all_) == 5)
        assert json.loads(got[-1].body)["data"] == {"text": "second"}
        assert got[-1].headers["webhook-id"] != got[0].headers["webhook-id"]
        await remove(sites, "orders")


async def test_ends_of_tasks_by_method_and_state(sites: Sites) -> None:
    async with Receiver() as receiver:
        await send(
            sites,
            "alarms",
            receiver.url,
            task_ends={"methods": ["probe.*/Call"], "states": ["TASK_STATE_FAILED"]},
        )
        await run(sites, ECHO)
        failed = await run(sites, CALL)
        await run(sites, ECHO)
        again = await run(sites, CALL)
        got = await receiver.until(lambda all_: len(all_) == 2)
        told = [json.loads(each.body) for each in got]
        assert {each["data"]["taskId"] for each in told} == {failed, again}
        assert {each["data"]["state"] for each in told} == {"TASK_STATE_FAILED"}
        await remove(sites, "alarms")


async def test_ends_of_groups(sites: Sites) -> None:
    groups = group_pb2_grpc.GroupServiceStub(sites.channel())
    async with Receiver() as receiver:
        await send(sites, "nightly", receiver.url, group_ends={"names": ["nightly-*"]})
        for name in ("other", "nightly-1"):
            await run(sites, ECHO, group=name)
            await groups.CloseGroup(group_pb2.CloseGroupRequest(name=name), timeout=10)
            await groups.CloseGroup(group_pb2.CloseGroupRequest(name=name), timeout=10)
        got = await receiver.until(lambda all_: len(all_) == 1)
        data = json.loads(got[0].body)["data"]
        assert (data["group"], data["counts"]["succeeded"]) == ("nightly-1", "1")
        await remove(sites, "nightly")


async def test_a_try(sites: Sites) -> None:
    async with Receiver(lambda _: web.Response(status=418, text="short and stout")) as receiver:
        made = await send(
            sites, "tried", receiver.url, events={"topic": TOPIC}, options={"retry": {"max_attempts": 1}}
        )
        stub = stub_of(sites)
        found = await stub.TestHook(hook_pb2.TestHookRequest(name="tried"), timeout=10)
        status = await status_of(sites, found.task_id)
        assert (status.code, "418: short and stout" in status.message) == (10, True)
        assert is_signed(receiver.received[0], made.secret)
        assert json.loads(receiver.received[0].body)["data"] == {"hook": "tried"}
        await remove(sites, "tried")


async def test_a_receiver_that_is_gone_pauses_its_hook(sites: Sites) -> None:
    async with Receiver(lambda _: web.Response(status=410)) as receiver:
        await send(sites, "gone", receiver.url, events={"topic": TOPIC})
        await publish(sites, "x")
        await receiver.until(lambda all_: len(all_) == 1)
        stub = stub_of(sites)
        hook = hook_pb2.Hook()
        while not hook.paused:
            hook = (await stub.GetHook(hook_pb2.GetHookRequest(name="gone"), timeout=10)).hook
        assert "410" in hook.pause_reason
        receiver.answer = lambda _: web.Response()
        await publish(sites, "while it is paused")
        resumed = hook_pb2.UpdateHookRequest(name="gone", paused=False)
        await stub.UpdateHook(resumed, timeout=20)
        got = await receiver.until(lambda all_: len(all_) == 2)
        assert json.loads(got[-1].body)["data"] == {"text": "while it is paused"}
        await remove(sites, "gone")


async def test_an_outgoing_hook_is_changed_and_keeps_its_secret(sites: Sites) -> None:
    """By the library and by the command: to another receiver, with another filter, of another topic."""
    address = sites.coordinators[0].address
    async with Receiver() as old, Receiver() as new, connect(address) as mesh:
        made = await mesh.hooks.send("moved", old.url, event=TOPIC)
        await publish(sites, "before")
        await old.until(lambda all_: len(all_) == 1)
        changed = await mesh.hooks.update_sending(
            "moved", new.url, event=TOPIC, filter='event.text != "left out"'
        )
        assert (changed.url, changed.name) == (new.url, "moved")
        await publish(sites, "left out", at=1)
        await publish(sites, "after", at=1)
        (got,) = await new.until(lambda all_: len(all_) == 1)
        assert json.loads(got.body)["data"] == {"text": "after"}
        assert is_signed(got, made.secret)
        words = ("hooks", "send", "moved", old.url, "--on", "task-ended", "--method", ECHO, "--replace")
        told = await weft(*words, target=address)
        assert (told.status, told.out.strip()) == (0, "moved sends"), told.err
        task_id = await run(sites, ECHO)
        got = (await old.until(lambda all_: len(all_) == 2))[-1]
        assert json.loads(got.body)["data"]["taskId"] == task_id
        assert is_signed(got, made.secret)
        # One that takes requests cannot send.
        await mesh.hooks.add("takes", "github", method=CALL)
        with pytest.raises(InvalidArgument, match="another kind or direction"):
            await mesh.hooks.update_sending("takes", new.url, event=TOPIC)
        with pytest.raises(FailedPrecondition, match="hook_hosts"):
            await mesh.hooks.update_sending("moved", "https://elsewhere.example.org/", event=TOPIC)
        with pytest.raises(NotFound):
            await mesh.hooks.update_sending("none", new.url, event=TOPIC)
        await mesh.hooks.remove("takes")
        await mesh.hooks.remove("moved")


async def test_a_change_of_contracts_ends_no_subscription_of_a_hook(sites: Sites) -> None:
    """Nor does a coordinator's start, at which the subscriptions that contracts declare are looked at: they are others."""
    async with Receiver() as receiver:
        await send(sites, "stays", receiver.url, events={"topic": TOPIC})
        for coordinator in sites.coordinators:
            (declared,) = [
                part._declared for part in coordinator.default._parts if isinstance(part, EventPart)
            ]
            # As at a start.
            await DeclaredSubscriptions(declared._store, declared._contracts).run_once()
        stub = event_pb2_grpc.EventServiceStub(sites.channel())
        listed = await stub.ListSubscriptions(event_pb2.ListSubscriptionsRequest(), timeout=10)
        assert "hook:stays" in {each.name for each in listed.subscriptions}
        await publish(sites, "still")
        await receiver.until(lambda all_: len(all_) == 1)
        await remove(sites, "stays")


async def test_what_may_not_be_sent(sites: Sites) -> None:
    bad = grpc.StatusCode.FAILED_PRECONDITION
    for url in ("https://evil.example.org/", "https://10.0.0.1/", "https://127.0.0.2/"):
        error = await refused(send(sites, "bad", url, events={"topic": TOPIC}))
        check(error, bad, "HOOK_ADDRESS_REFUSED")
    for url, fields in (
        ("https://user@127.0.0.1/", {"events": {"topic": TOPIC}}),
        ("https://127.0.0.1/", {}),
        ("https://127.0.0.1/", {"task_ends": {"states": ["TASK_STATE_RUNNING"]}}),
        ("https://127.0.0.1/", {"task_ends": {"methods": [""]}}),
    ):
        error = await refused(send(sites, "bad", url, **fields))
        check(error, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_no_caller_can_have_coordinators_send_what_it_says(sites: Sites) -> None:
    """A delivery that a caller submits is refused by its worker, and no agent may host the method."""
    async with Receiver() as receiver:
        made = await send(sites, "forged", receiver.url, events={"topic": TOPIC})
        forged = event_pb2.Event(topic=TOPIC, payload=ProbeRequest(text="forged").SerializeToString())
        call = hook_pb2.HookCall(hook="forged", uid=made.hook.uid, event=forged)
        tasks = CoordinatorServiceStub(sites.channel())
        request = api.SubmitTaskRequest(method=DELIVER, payload=call.SerializeToString())
        task_id = (await tasks.SubmitTask(request, timeout=10)).task.id
        assert (await status_of(sites, task_id)).code == grpc.StatusCode.PERMISSION_DENIED.value[0]
        request.request_id = "hook:mine"
        error = await refused(tasks.SubmitTask(request, timeout=10))
        check(error, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert not receiver.received
        await remove(sites, "forged")
    agent = LightAgent(sites.channel(), "thief", methods=(DELIVER,))
    with pytest.raises(Exception, match="no agent may"):
        await agent.open()
    await agent.close(goodbye=False)


# -- the client, at sockets ----------------------------------------------------------------------------------------------


async def test_the_address_that_is_checked_is_the_one_that_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that means something else at each look (DNS rebinding), and forms of addresses that resolvers know."""
    async with Receiver() as receiver:
        port = receiver.url.rpartition(":")[2]
        client = HookClient(())
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0"):
            with pytest.raises((FailedPrecondition, NotSent)) as error:
                await client.send(f"http://{host}:{port}/", {}, b"")
            assert isinstance(error.value, FailedPrecondition) or any(
                word in str(error.value) for word in ("resolve", "canonical", "connect")
            ), (host, error.value)
        looked = iter(["93.184.216.34", "127.0.0.1"])
        real = socket.getaddrinfo

        def rebinding(host: Any, *args: Any, **named: Any) -> Any:
            if host == "rebinding.example.com":
                return real(next(looked, "127.0.0.1"), *args, **named)
            return real(host, *args, **named)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        socket.getaddrinfo("rebinding.example.com", 80)
        with pytest.raises(FailedPrecondition, match=r"127\.0\.0\.1 is not a public address"):
            await client.send(f"https://rebinding.example.com:{port}/", {}, b"")
        assert not receiver.received
        allowed = HookClient(networks_of(["127.0.0.0/8"]))
        assert (await allowed.send(f"{receiver.url}/", {"webhook-id": "1"}, b"{}")).status == 200
        assert len(receiver.received) == 1


async def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    client = HookClient(networks_of(["127.0.0.0/8"]))
    date = "Wed, 21 Oct 2099 07:28:00 GMT"
    for header, wait_s in (
        ("7", 7.0),
        ("99999999", 86400.0),
        ("soon", None),
        ("-1", None),
        (date, 86400.0),
        ("", None),
    ):
        async with Receiver(
            lambda _, header=header: web.Response(
                status=503, headers={"Retry-After": header}, text="x" * 10**6
            )
        ) as receiver:
            sent = await client.send(receiver.url, {}, b"")
            assert (sent.status, sent.retry_after_s, len(sent.text) <= hook_client.ANSWER_BYTES) == (
                503,
                wait_s,
                True,
            )
    monkeypatch.setattr(hook_client, "TOTAL_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NotSent, match="no answer within"):
            await client.send(f"http://127.0.0.1:{silent.getsockname()[1]}/", {}, b"")
    with pytest.raises(NotSent):
        await client.send("http://127.0.0.1:1/", {}, b"")
