"""Webhooks on real coordinators: requests by HTTP become tasks and events, once each, on both stores; and what strangers get."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.certificates import TestAuthority
from tests.support.lightweight import CALL, LightAgent
from tests.support.namespaced import Sites, sites_on
from tests.support.refusals import check, refused
from tests.support.token_door import shown, token_door
from weft.coordinator.hooks import hook_http
from weft.coordinator.hooks.hook_http import HookHttp
from weft.coordinator.hooks.hook_intake import Taken
from weft.coordinator.hooks.hook_part import HookPart
from weft.coordinator.hooks.hook_request import HookRequest
from weft.coordinator.hooks.hook_signatures import standard_signature
from weft.coordinator.hooks.hook_table import HookTable
from weft.coordinator.namespaces.namespace_table import let_sleep
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc import refusals
from weft.rpc.identity.caller import AGENT, OPERATOR
from weft.rpc.identity.refused_calls import RefusedCalls
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.security.token_source import token_source
from weft.v1 import coordinator_pb2 as api
from weft.v1 import event_pb2, event_pb2_grpc, hook_pb2, hook_pb2_grpc, security_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.errors_pb2 import ErrorReason

SECRET = "a-secret-of-16-or-more"
TOPIC = "probe.v1.ProbeRequest"
TEMPLATE = '{"text": "${body.action} by ${headers.x-sender}", "sleepS": "${body.sleep}"}'
TASK = {"task": {"method": CALL}, "template": TEMPLATE}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "redis"])
async def sites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Sites]:
    folder = tmp_path_factory.mktemp("hooks")
    async with sites_on(request.param, folder, hooks="127.0.0.1:0", hook_passphrase="over the hills") as made:
        await made.create("team")
        async with (
            LightAgent(made.channel(), "a1", slots=4, methods=(CALL,)),
            LightAgent(made.channel("team"), "a2", slots=4, methods=(CALL,)),
        ):
            yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


def stub_of(sites: Sites, namespace: str = "", at: int = 0) -> Any:
    return hook_pb2_grpc.HookServiceStub(sites.channel(namespace, at))


async def create(
    sites: Sites,
    name: str,
    kind: str = "GENERIC",
    *,
    secret: str = SECRET,
    namespace: str = "",
    **fields: Any,
) -> hook_pb2.CreateHookResponse:
    incoming = hook_pb2.IncomingHook(
        kind=f"HOOK_KIND_{kind}", **{**({} if "event" in fields else TASK), **fields}
    )
    asked = hook_pb2.CreateHookRequest(name=name, spec={"incoming": incoming}, secret=secret)
    return await stub_of(sites, namespace).CreateHook(asked, timeout=10)


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-Signature": hmac.digest(secret.encode(), body, "sha256").hex(), "X-Sender": "me"}


async def post(
    http: aiohttp.ClientSession,
    sites: Sites,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    at: int = 0,
) -> tuple[int, dict[str, Any]]:
    address = sites.coordinators[at % len(sites.coordinators)].hooks_address
    sent = {"Content-Type": "application/json", **headers}
    async with http.post(f"http://{address}{path}", data=body, headers=sent) as response:
        return response.status, json.loads(await response.read())


async def request_of(sites: Sites, task_id: str, at: int = 0) -> ProbeRequest:
    stub = CoordinatorServiceStub(sites.channel(at=at))
    view = api.GetTaskRequest(task_id=task_id, view="TASK_VIEW_FULL")
    task = (await stub.GetTask(view, timeout=10)).task
    return ProbeRequest.FromString(task.payload)


async def counts_of(sites: Sites, name: str) -> hook_pb2.HookCounts:
    """The counts, when all coordinators have written theirs."""
    for coordinator in sites.coordinators:
        for part in coordinator.default._parts:
            if hasattr(part, "counts"):
                await part.counts.write()
    return (await stub_of(sites).GetHook(hook_pb2.GetHookRequest(name=name), timeout=10)).hook.counts


async def test_a_request_becomes_one_task_at_whichever_coordinator_it_comes(
    sites: Sites, http: aiohttp.ClientSession
) -> None:
    made = await create(sites, "deploys")
    assert made.secret == SECRET
    assert made.hook.path == "/hooks/deploys"
    body = b'{"action": "opened", "sleep": 0.5, "more": [1]}'
    status, first = await post(http, sites, "/hooks/deploys", body, signed(body))
    assert (status, first["existed"]) == (200, False)
    status, again = await post(http, sites, "/hooks/deploys", body, signed(body), at=1)
    assert (status, again) == (200, {"task_id": first["task_id"], "existed": True})
    found = await request_of(sites, first["task_id"], at=1)
    assert found == ProbeRequest(text="opened by me", sleep_s=0.5)
    other = b'{"action": "closed"}'
    status, second = await post(http, sites, "/hooks/deploys", other, signed(other))
    assert second["task_id"] != first["task_id"]
    counts = await counts_of(sites, "deploys")
    assert (counts.accepted_count, counts.repeated_count) == (2, 1)
    assert counts.HasField("last_time")


async def test_what_is_not_signed_learns_nothing_and_does_nothing(
    sites: Sites, http: aiohttp.ClientSession
) -> None:
    await create(sites, "closed")
    body = b'{"action": "opened"}'
    wrong = [
        {},
        signed(body, "another secret, too"),
        signed(b'{"action": "closed"}'),
        {"X-Signature": "0" * 64},
        {"X-Signature": "\u00fc"},
        {"Authorization": "Bearer " + SECRET},
    ]
    for headers in wrong:
        status, document = await post(http, sites, "/hooks/closed", body, headers)
        assert (status, document["reason"]) == (401, "HOOK_SIGNATURE_INVALID")
        assert SECRET not in json.dumps(document)
    for path in (
        "/hooks/none",
        "/hooks/",
        "/",
        "/hooks",
        "/metrics",
        "/namespaces/none/hooks/closed",
        "/hooks/closed/x",
    ):
        status, document = await post(http, sites, path, body, signed(body))
        assert (status, document) == (404, {"error": "there is nothing here"}), path
    counts = await counts_of(sites, "closed")
    assert (counts.accepted_count, counts.unsigned_count) == (0, len(wrong))
    assert "signed" in counts.last_error


async def test_a_hook_that_sends_takes_nothing(sites: Sites, http: aiohttp.ClientSession) -> None:
    table = HookTable(sites.coordinators[0].default._store)
    outgoing = hook_pb2.OutgoingHook(url="https://example.com/", task_ends={})
    hook = hook_pb2.Hook(name="sends", uid="1", spec={"outgoing": outgoing})
    await table.create(hook_pb2.StoredHook(hook=hook))
    assert await post(http, sites, "/hooks/sends", b"{}", signed(b"{}")) == (
        404,
        {"error": "there is nothing here"},
    )
    await table.delete("sends")


async def test_what_keeps_a_hook_from_checking_is_told_to_operators_alone(
    sites: Sites, http: aiohttp.ClientSession
) -> None:
    await create(sites, "sealed")
    table = HookTable(sites.coordinators[0].default._store)

    def spoil(stored: hook_pb2.StoredHook) -> bool:
        stored.secrets[0].sealed = b"by another passphrase"
        return True

    await table.change("sealed", spoil)
    status, document = await post(http, sites, "/hooks/sealed", b"{}", {})
    assert (status, document["error"]) == (503, "the hook 'sealed' cannot check signatures now")
    assert "WEFT_HOOK_PASSPHRASE" in (await counts_of(sites, "sealed")).last_error


async def test_counts_of_a_deleted_hook_are_not_kept(sites: Sites) -> None:
    made = await create(sites, "short")
    await stub_of(sites).DeleteHook(hook_pb2.DeleteHookRequest(name="short"), timeout=10)
    mesh = sites.coordinators[0].default
    (counts,) = [part.counts for part in mesh._parts if isinstance(part, HookPart)]
    counts.add("short", made.hook.uid, "accepted")
    # The last writing is beside one of housekeeping.
    await asyncio.gather(counts.write(), counts.write())
    assert await mesh._store.get_rows("hook-counts", ["short"]) == [None]


async def test_headers_that_are_no_text(sites: Sites) -> None:
    await create(sites, "odd")
    body = b'{"action": "opened"}'
    head = f"POST /hooks/odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    proof = f"X-Signature: {signed(body)['X-Signature']}\r\nX-Sender: Jos".encode()
    answer = await raw(sites, head.encode() + proof + b"\xe9\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 200 ")
    task_id = json.loads(answer.partition(b"\r\n\r\n")[2])["task_id"]
    assert (await request_of(sites, task_id)).text == "opened by Jos\ufffd"


async def test_bodies_that_do_not_fit(sites: Sites, http: aiohttp.ClientSession) -> None:
    await create(sites, "strict")
    for body, part in ((b"{", "no JSON"), (b'{"action": 1, "sleep": "never"}', "sleep"), (b"\xff", "UTF-8")):
        status, document = await post(http, sites, "/hooks/strict", body, signed(body))
        assert (status, document["reason"]) == (400, "PAYLOAD_MALFORMED"), document
        assert part in document["error"]
    large = b" " * (1024 * 1024 + 1)
    assert (await post(http, sites, "/hooks/strict", large, signed(large)))[0] == 413
    counts = await counts_of(sites, "strict")
    assert (counts.failed_count, counts.accepted_count) == (3, 0)


async def test_a_filter_lets_others_pass_without_a_task(sites: Sites, http: aiohttp.ClientSession) -> None:
    await create(sites, "filtered", filter='body.action == "opened" && headers["x-sender"] == "me"')
    for body, status in (
        (b'{"action": "closed"}', 202),
        (b"{}", 202),
        (b"[]", 202),
        (b'{"action": "opened"}', 200),
    ):
        assert (await post(http, sites, "/hooks/filtered", body, signed(body)))[0] == status
    counts = await counts_of(sites, "filtered")
    assert (counts.filtered_count, counts.accepted_count) == (3, 1)


async def test_providers(sites: Sites, http: aiohttp.ClientSession) -> None:
    """Each in the way that it signs; without a template, the body is the message."""
    body, at = b'{"id": "evt_1", "text": "hello", "unknown": {"x": 1}}', int(time.time())
    key = "whsec_" + base64.b64encode(b"k" * 32).decode()
    mac = hmac.digest(SECRET.encode(), body, "sha256").hex()
    timed = hmac.digest(SECRET.encode(), b"%d." % at + body, "sha256").hex()
    standard = {
        "webhook-id": "m1",
        "webhook-timestamp": str(at),
        "webhook-signature": standard_signature(key, "m1", at, body),
    }
    kinds: dict[str, tuple[str, dict[str, str]]] = {
        "GITHUB": (SECRET, {"X-Hub-Signature-256": f"sha256={mac}", "X-GitHub-Event": "push"}),
        "GITLAB": (SECRET, {"X-Gitlab-Token": SECRET, "Idempotency-Key": "k1"}),
        "STRIPE": (SECRET, {"Stripe-Signature": f"t={at},v1={timed}"}),
        "STANDARD": (key, standard),
    }
    for kind, (secret, headers) in kinds.items():
        name = f"of-{kind.lower()}"
        await create(sites, name, kind, secret=secret, template="")
        status, first = await post(http, sites, f"/hooks/{name}", body, headers)
        assert status == 200, (kind, first)
        assert (await request_of(sites, first["task_id"])).text == "hello"
        status, again = await post(http, sites, f"/hooks/{name}", body, headers, at=1)
        assert (status, again["task_id"], again["existed"]) == (200, first["task_id"], True)
    status, document = await post(
        http, sites, "/hooks/of-github", body, {**kinds["GITHUB"][1], "X-GitHub-Event": "ping"}
    )
    assert (status, document) == (202, {"ping": True})
    # An old one, signed rightly.
    old = at - 400
    stale = hmac.digest(SECRET.encode(), b"%d." % old + body, "sha256").hex()
    status, document = await post(
        http, sites, "/hooks/of-stripe", body, {"Stripe-Signature": f"t={old},v1={stale}"}
    )
    assert (status, document["reason"]) == (401, "HOOK_REQUEST_STALE")


async def test_a_request_becomes_one_event(sites: Sites, http: aiohttp.ClientSession) -> None:
    await create(sites, "events", event={"topic": TOPIC, "key": "${body.text}"}, template="")
    body = b'{"text": "ordered"}'
    status, first = await post(http, sites, "/hooks/events", body, signed(body))
    assert (status, first["topic"], first["existed"]) == (200, TOPIC, False)
    status, again = await post(http, sites, "/hooks/events", body, signed(body), at=1)
    assert again == {**first, "existed": True}
    events = event_pb2_grpc.EventServiceStub(sites.channel())
    listed = await events.ListEvents(event_pb2.ListEventsRequest(topic=TOPIC), timeout=10)
    (event,) = [each for each in listed.events if each.sequence == first["sequence"]]
    assert (event.key, event.attributes["hook"]) == ("ordered", "events")
    assert ProbeRequest.FromString(event.payload).text == "ordered"


async def test_an_event_is_known_for_a_day_though_its_sender_signs_each_repeat_anew(
    sites: Sites, http: aiohttp.ClientSession
) -> None:
    """Without the note, the topic would know its id for two minutes only."""
    secret = "whsec_" + base64.b64encode(b"a key of sixteen").decode()
    await create(
        sites, "again", "STANDARD", secret=secret, event={"topic": TOPIC}, template='{"text": "${delivery}"}'
    )
    at, found = int(time.time()), []
    for sent_at in (at - 60, at):
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(sent_at),
            "webhook-signature": standard_signature(secret, "msg_1", sent_at, b"{}"),
        }
        found.append((await post(http, sites, "/hooks/again", b"{}", headers))[1])
    assert found[1] == {**found[0], "existed": True}
    notes = await sites.coordinators[0].default._store.list_rows("hook-delivery", limit=1000)
    (note,) = [each for each in notes.rows if int(each.value) == found[0]["sequence"]]
    assert note.due_at is not None
    assert note.due_at > at + 86000


async def test_secrets_are_rotated_with_an_overlap(sites: Sites, http: aiohttp.ClientSession) -> None:
    await create(sites, "rotated")
    stub = stub_of(sites)
    rotated = await stub.RotateHookSecret(hook_pb2.RotateHookSecretRequest(name="rotated"), timeout=10)
    assert len(rotated.hook.secrets) == 2
    for number, secret in enumerate((SECRET, rotated.secret)):
        body = b'{"action": "%d"}' % number
        assert (await post(http, sites, "/hooks/rotated", body, signed(body, secret), at=number))[0] == 200
    at_once = hook_pb2.RotateHookSecretRequest(name="rotated", overlap={"seconds": 0})
    last = await stub.RotateHookSecret(at_once, timeout=10)
    assert len(last.hook.secrets) == 1
    body = b'{"action": "later"}'
    assert (await post(http, sites, "/hooks/rotated", body, signed(body, rotated.secret), at=1))[0] == 401
    assert (await post(http, sites, "/hooks/rotated", body, signed(body, last.secret), at=1))[0] == 200


async def test_a_hook_that_was_made_anew_meanwhile_is_not_changed(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked for one hook may be wrong for the next one of its name."""
    await create(sites, "anew")
    stub = stub_of(sites)
    read = HookTable.read

    async def read_and_replace(table: HookTable, name: str) -> hook_pb2.StoredHook:
        found = await read(table, name)
        monkeypatch.setattr(HookTable, "read", read)
        await stub.DeleteHook(hook_pb2.DeleteHookRequest(name=name), timeout=10)
        await create(sites, name, "GITHUB")
        return found

    other = {"incoming": {"kind": "HOOK_KIND_GENERIC", **TASK, "filter": "body.x == 1"}}
    for call in (
        lambda: stub.UpdateHook(hook_pb2.UpdateHookRequest(name="anew", spec=other), timeout=10),
        lambda: stub.RotateHookSecret(hook_pb2.RotateHookSecretRequest(name="anew"), timeout=10),
        lambda: stub.DeleteHook(hook_pb2.DeleteHookRequest(name="anew"), timeout=10),
    ):
        monkeypatch.setattr(HookTable, "read", read_and_replace)
        error = await refused(call())
        check(error, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert "made anew" in error.message
        left = (await stub.GetHook(hook_pb2.GetHookRequest(name="anew"), timeout=10)).hook
        assert left.spec.incoming.kind == hook_pb2.HOOK_KIND_GITHUB
        assert len(left.secrets) == 1


async def test_a_paused_hook_asks_to_come_again(sites: Sites, http: aiohttp.ClientSession) -> None:
    await create(sites, "paused")
    stub = stub_of(sites)
    pause = hook_pb2.UpdateHookRequest(name="paused", paused=True, pause_reason="the warehouse moves")
    assert (await stub.UpdateHook(pause, timeout=10)).hook.paused
    body = b'{"action": "opened"}'
    status, document = await post(http, sites, "/hooks/paused", body, signed(body), at=1)
    assert (status, document["reason"]) == (503, "HOOK_UNAVAILABLE")
    assert "the warehouse moves" in document["error"]
    assert (await post(http, sites, "/hooks/paused", body, {}, at=1))[0] == 401
    await stub.UpdateHook(hook_pb2.UpdateHookRequest(name="paused", paused=False), timeout=10)
    assert (await post(http, sites, "/hooks/paused", body, signed(body), at=1))[0] == 200
    await stub.DeleteHook(hook_pb2.DeleteHookRequest(name="paused"), timeout=10)
    assert (await post(http, sites, "/hooks/paused", body, signed(body), at=1))[0] == 404


async def test_hooks_of_a_namespace(sites: Sites, http: aiohttp.ClientSession) -> None:
    made = await create(sites, "deploys-of-team", namespace="team")
    assert made.hook.path == "/namespaces/team/hooks/deploys-of-team"
    body = b'{"action": "opened"}'
    status, document = await post(http, sites, made.hook.path, body, signed(body), at=1)
    assert (status, document["existed"]) == (200, False)
    assert (await post(http, sites, "/hooks/deploys-of-team", body, signed(body)))[0] == 404
    # What is not signed, or has no hook, does not count as use: it keeps no namespace open.
    opened = sites.coordinators[-1].namespaces.present()["team"]
    used_at_s = opened.used_at_s
    assert (await post(http, sites, made.hook.path, body, {}, at=1))[0] == 401
    assert (await post(http, sites, "/namespaces/team/hooks/none", body, signed(body), at=1))[0] == 404
    assert opened.used_at_s == used_at_s
    body = b'{"action": "closed"}'
    assert (await post(http, sites, made.hook.path, body, signed(body), at=1))[0] == 200
    assert opened.used_at_s > used_at_s


async def test_a_stranger_opens_no_closed_namespace(sites: Sites, http: aiohttp.ClientSession) -> None:
    await sites.create("asleep")
    async with LightAgent(sites.channel("asleep"), "a3", slots=1, methods=(CALL,)), asyncio.timeout(20):
        while True:
            try:
                made = await create(sites, "quiet", namespace="asleep")
                break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                # The agent's contract is being looked at.
                await asyncio.sleep(0.02)
    body = b'{"action": "opened"}'
    everywhere = [each.namespaces for each in sites.coordinators]

    def is_open() -> bool:
        return any("asleep" in each.present() or each.is_closing("asleep") for each in everywhere)

    async def is_asleep() -> bool:
        """Nobody has it open, and nobody is about to open it."""
        stored = await everywhere[0].table.read("asleep")
        known = [each.known.get("asleep") for each in everywhere if not each._working]
        rows = [each for each in (stored, *known) if each is not None and not each.awake]
        return len(rows) == 1 + len(everywhere) and not is_open()

    async with asyncio.timeout(20):
        while not await is_asleep():
            await everywhere[0].table.change("asleep", let_sleep)
            for each in everywhere:
                if "asleep" in each.present():
                    each.close("asleep", refusals.stopping("closed by the test"))
            await asyncio.sleep(0.02)
    for at in range(2):
        assert (await post(http, sites, made.hook.path, body, {}, at=at))[0] == 401
        assert (await post(http, sites, made.hook.path, body, signed(body, "w" * 20), at=at))[0] == 401
        assert (await post(http, sites, "/namespaces/asleep/hooks/none", body, signed(body), at=at))[0] == 404
    assert await is_asleep()
    assert (await post(http, sites, made.hook.path, body, signed(body), at=1))[0] == 200
    assert is_open()


async def test_secrets_are_nowhere_in_plain(
    sites: Sites, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    secret = "found-nowhere-in-plain-text"
    await create(sites, "hidden", secret=secret)
    stub = stub_of(sites)
    shown = await stub.GetHook(hook_pb2.GetHookRequest(name="hidden"), timeout=10)
    listed = await stub.ListHooks(hook_pb2.ListHooksRequest(), timeout=10)
    rows = await sites.coordinators[0].default._store.list_rows("hook", limit=100)
    found = b"".join(
        [shown.SerializeToString(), listed.SerializeToString(), *(row.value for row in rows.rows)]
    )
    assert secret.encode() not in found


async def test_wrong_hooks_are_refused(sites: Sites) -> None:
    bad = grpc.StatusCode.INVALID_ARGUMENT

    async def refuse(field: str, reason: str = "INVALID_FIELD", **fields: Any) -> None:
        secret = fields.pop("secret", SECRET)
        kind = fields.pop("kind", "GENERIC")
        error = await refused(create(sites, "wrong", kind, secret=secret, **fields))
        check(error, bad, reason)
        assert field in str(error), error.message

    await refuse("spec.incoming.kind", kind="UNSPECIFIED")
    await refuse("spec.incoming has no target", task=None, template="")
    await refuse("spec.incoming.template", template="{")
    await refuse("spec.incoming.template", template='{"txt": 1}')
    await refuse("spec.incoming.signing", kind="GITHUB", signing={"header": "x"})
    await refuse("spec.incoming.signing.header", signing={"header": "a b"})
    await refuse("spec.incoming.signing.content", signing={"content": "{time}"})
    await refuse("spec.incoming.signing.content", signing={"content": "{time}.{body}"})
    await refuse("spec.incoming.signing.content", signing={"content": "{body}", "time_header": "x-t"})
    await refuse("secret", secret="short")
    await refuse("secret", secret="", kind="STRIPE")
    await refuse("secret", secret="no-whsec-but-long", kind="STANDARD")
    await refuse("spec.incoming.tolerance", tolerance={"seconds": 86401})
    await refuse("spec.incoming.event.topic", event={"topic": "weft.v1.TaskEnded"}, template="")
    await refuse("filter", reason="FILTER_INVALID", filter="body.x +")
    await refuse("list", reason="FILTER_INVALID", filter="body.all(x, x == 1)")
    await refuse(
        "spec.incoming.task.options",
        task={"method": CALL, "options": {"priority": 77}},
        template='{"text": "x"}',
    )
    unknown = await refused(create(sites, "wrong", task={"method": "no.Such/Method"}))
    check(unknown, grpc.StatusCode.NOT_FOUND, "METHOD_UNKNOWN")
    await create(sites, "twice")
    check(await refused(create(sites, "twice")), grpc.StatusCode.ALREADY_EXISTS, "HOOK_EXISTS")
    other = hook_pb2.UpdateHookRequest(name="twice", spec={"incoming": {"kind": "HOOK_KIND_GITHUB", **TASK}})
    check(await refused(stub_of(sites).UpdateHook(other, timeout=10)), bad, "INVALID_FIELD")
    gone = stub_of(sites).GetHook(hook_pb2.GetHookRequest(name="none"), timeout=10)
    check(await refused(gone), grpc.StatusCode.NOT_FOUND, "HOOK_NOT_FOUND")
    assert ErrorReason.ERROR_REASON_HOOK_NOT_FOUND == 118


async def test_a_request_is_tried(sites: Sites) -> None:
    await create(sites, "tried", filter='body.action == "opened"')
    stub = stub_of(sites)
    asked = hook_pb2.TestHookRequest(name="tried", body=b'{"action": "opened"}', headers={"X-Sender": "you"})
    found = await stub.TestHook(asked, timeout=10)
    assert (found.matched, found.target) == (True, CALL)
    assert ProbeRequest.FromString(found.payload).text == "opened by you"
    asked.body = b"{}"
    assert not (await stub.TestHook(asked, timeout=10)).matched
    asked.body = b"{"
    check(
        await refused(stub.TestHook(asked, timeout=10)), grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_MALFORMED"
    )


# -- strangers at the port ---------------------------------------------------------------------------------------------------


async def raw(sites: Sites, sent: bytes, timeout_s: float = 10.0) -> bytes:
    """The answer to these bytes, until the connection is closed."""
    host, _, port = sites.coordinators[0].hooks_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        async with asyncio.timeout(timeout_s):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /hooks/deploys HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"\x16\x03\x01garbage\r\n\r\n", 400),
        (b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 400),
        (b"POST /hooks/x HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 200 + b"\r\n", 400),
        (b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", 415),
        (b"POST /%2e%2e/hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
    ],
)
async def test_garbage_is_answered(sites: Sites, sent: bytes, status: int) -> None:
    answer = await raw(sites, sent)
    assert answer.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status)), answer[:200]
    assert b"Traceback" not in answer
    assert b"aiohttp" not in answer.lower()


async def test_slow_requests_are_cut_off(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one whose headers never end, and of one whose body does not come."""
    monkeypatch.setattr(hook_http, "READ_S", 0.3)
    assert await raw(sites, b"POST /hooks/deploys HTTP/1.1\r\nHost: ") == b""
    slow = b"POST /hooks/deploys HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"
    assert (await raw(sites, slow)).startswith(b"HTTP/1.1 408 ")


async def test_connections_count_before_they_speak(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in a handshake of TLS, which may never end."""
    served = sites.coordinators[0]._hooks.http
    assert served is not None
    at_once = HookHttp(served._hooks, served._refused)
    monkeypatch.setattr(hook_http, "MAX_CONNECTIONS", 2)
    assert [type(at_once.connection()).__name__ for _ in range(3)] == [
        "_Connection",
        "_Connection",
        "_NoRoom",
    ]
    at_once._begins = dict.fromkeys(at_once._begins, 0.0)
    assert type(at_once.connection()).__name__ == "_Connection"
    await at_once.stop(0.0)


async def test_connections_beyond_the_bound_are_closed(
    sites: Sites, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(sites, "bounded")
    served = sites.coordinators[0]._hooks.http
    assert served is not None
    host, _, port = sites.coordinators[0].hooks_address.rpartition(":")
    monkeypatch.setattr(hook_http, "MAX_CONNECTIONS", served.connections + 3)
    held = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    async with asyncio.timeout(10):
        while served.connections < hook_http.MAX_CONNECTIONS:
            await asyncio.sleep(0.01)
    assert await raw(sites, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    for _, writer in held:
        writer.close()
    body = b'{"action": "opened"}'
    async with asyncio.timeout(10):
        while served.connections >= hook_http.MAX_CONNECTIONS:
            await asyncio.sleep(0.01)
    assert (await post(http, sites, "/hooks/bounded", body, signed(body)))[0] == 200


async def test_a_stop_waits_for_requests_and_for_no_idle_connection(http: aiohttp.ClientSession) -> None:
    """A connection that is kept for the next request, or has sent a part of one, would take up all the time that there is."""
    begun, answer = asyncio.Event(), asyncio.Event()

    class Slow:
        async def take(self, _namespace: str, _name: str, _request: HookRequest) -> Taken:
            begun.set()
            await answer.wait()
            return Taken("accepted", {"done": True})

    served = HookHttp(Slow(), RefusedCalls(lambda _: None))
    server = await asyncio.get_running_loop().create_server(served.connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    held[0][1].write(b"POST /hooks/x HTTP/1.1\r\nHo")
    posting = asyncio.create_task(http.post(f"http://127.0.0.1:{port}/hooks/x", data=b"{}"))
    await begun.wait()
    server.close()
    stopping = asyncio.create_task(served.stop(20.0))
    await asyncio.sleep(0)
    answer.set()
    async with await posting as response:
        assert await response.json() == {"done": True}
    # Also without any time for requests.
    async with asyncio.timeout(5):
        await stopping
        await served.stop(0.0)
        assert [await reader.read() for reader, _ in held] == [b"", b""]
    for _, writer in held:
        writer.close()


# -- who made it -------------------------------------------------------------------------------------------------------------


async def test_a_hook_of_a_revoked_operator_takes_nothing_more(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with token_door(tmp_path, hooks="127.0.0.1:0") as door:
        made = await door.create(OPERATOR, name="maker")
        agent = await door.create(AGENT, name="worker")
        channel = dial(
            door.coordinator.address,
            client_options(own_connection=True),
            Route(token=token_source(agent.text)),
        )
        async with LightAgent(channel, "a1", methods=(CALL,)):
            await door.wait_serving()
            stub = hook_pb2_grpc.HookServiceStub(door.channel)
            incoming = hook_pb2.IncomingHook(kind="HOOK_KIND_GENERIC", **TASK)
            asked = hook_pb2.CreateHookRequest(name="made", spec={"incoming": incoming}, secret=SECRET)
            await stub.CreateHook(asked, metadata=shown(made.text), timeout=10)
            body = b'{"action": "opened"}'
            url = f"http://{door.coordinator.hooks_address}/hooks/made"
            async with http.post(url, data=body, headers=signed(body)) as response:
                assert response.status == 200
            await door.stub.RevokeToken(
                security_pb2.RevokeTokenRequest(id=made.token.id),
                metadata=shown(door.operator),
                timeout=10,
            )
            body = b'{"action": "closed"}'
            async with http.post(url, data=body, headers=signed(body)) as response:
                told = await response.json()
            assert (response.status, told["reason"]) == (503, "HOOK_UNAVAILABLE")
            assert "revoked" in told["error"]
        await channel.close()


# -- by TLS ------------------------------------------------------------------------------------------------------------------


async def test_by_tls_without_certificates_of_callers_and_with_a_renewed_one(tmp_path: Path) -> None:
    """Senders have no certificate of the mesh; the port follows the files of its own."""
    authority = TestAuthority(tmp_path)
    own = authority.tls("coordinator")
    given = {"tls_ca": own.ca, "tls_cert": own.cert, "tls_key": own.key, "tls_client_ca": own.client_ca}
    settings: Any = {name: str(value) for name, value in given.items()}
    context = ssl.create_default_context(cafile=str(own.ca))
    context.check_hostname = False
    coordinator = Coordinator(
        CoordinatorSettings(
            listen="127.0.0.1:0", store=str(tmp_path / "weft.db"), hooks="https://127.0.0.1:0", **settings
        )
    )
    await coordinator.start()
    try:
        host, _, port = coordinator.hooks_address.rpartition(":")

        async def shown_certificate() -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.write(b"POST /hooks/none HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
            found: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
            writer.close()
            return found

        first = await shown_certificate()
        renewed = authority.tls("renewed")
        for old, new in ((own.key, renewed.key), (own.cert, renewed.cert)):
            Path(old).write_bytes(Path(new).read_bytes())
        async with asyncio.timeout(20):
            while await shown_certificate() == first:
                await asyncio.sleep(0.1)
        # A plain request gets no answer.
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not (await reader.read()).startswith(b"HTTP")
        writer.close()
    finally:
        await coordinator.stop(0.0)
