"""Events of programs that encrypt: no clear text at the coordinator; read by those with the keys, as events and as tasks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import CALL
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.client import DataLoss, FailedPrecondition, NewEvent, Payloads, connect
from weft.rpc.payloads import key_file
from weft.rpc.payloads.envelope import is_coded
from weft.rpc.payloads.payload_coder import EVENT, REQUEST, PayloadCoder
from weft.v1 import errors_pb2, event_pb2, event_pb2_grpc

TOPIC = "probe.v1.ProbeRequest"
SECRET = "Hunter2-the-clear-text"


async def test_no_clear_text_on_the_way(mesh: MeshHarness, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{key_file.new_line('k1')}\n")
    keys.chmod(0o600)
    payloads = Payloads(keys_file=keys)
    mesh.agent_env = {"WEFT_PAYLOAD_KEYS_FILE": str(keys)}
    await mesh.coordinator()
    await mesh.agent("a1")
    await mesh.wait_serving()
    ledger = mesh.ledger()

    def request(text: str) -> ProbeRequest:
        return ProbeRequest(text=text, ledger=ledger.path, no_trailers=True)

    async with (
        connect(mesh.target, payloads=payloads) as keyed,
        connect(mesh.target, payloads=False) as other,
    ):
        # Each filter says what it can of a message that the coordinator cannot read.
        await keyed.subscriptions.create("tasks", ProbeRequest, CALL, filter='key == "k"')
        await keyed.subscriptions.create("unreadable", ProbeRequest, CALL, filter="event.text != ''")
        await keyed.events.publish(request(SECRET), key="k")
        await keyed.tasks.submit(
            CALL, request("submitted"), publish=[NewEvent(request(f"{SECRET}-2"), key="k")]
        )
        # As tasks, by an agent with the keys.
        await ledger.until("end", SECRET)
        await ledger.until("end", f"{SECRET}-2")
        # As events: listed, followed, consumed.
        assert [each.message.text async for each in keyed.events.list(ProbeRequest)] == [
            SECRET,
            f"{SECRET}-2",
        ]
        async with aclosing(keyed.events.subscribe(ProbeRequest, after=0)) as followed:
            assert (await anext(followed)).message.text == SECRET
        async with aclosing(keyed.subscriptions.consume("c", ProbeRequest, after=0)) as consumed:
            assert (await anext(consumed)).message.text == SECRET
        # By others they can be counted, and not read.
        found = [each async for each in other.events.list(ProbeRequest)]
        assert all(is_coded(each.proto.payload) for each in found)
        with pytest.raises(FailedPrecondition, match="coded") as fault:
            _ = found[0].message
        assert fault.value.reason == errors_pb2.ERROR_REASON_PAYLOAD_CODED
        shown = await weft("events", "list", TOPIC, "--json", target=mesh.target)
        assert shown.document[0]["message"]["coded"] == "AES-GCM with key k1"
        env = {"WEFT_PAYLOAD_KEYS_FILE": str(keys)}
        shown = await weft("events", "list", TOPIC, "--json", target=mesh.target, env=env)
        assert shown.document[0]["message"]["text"] == SECRET

        # One that is not coded: whoever needs them coded is told, and others go on.
        await other.events.publish(request("plain"))
        strict = Payloads(keys_file=keys, required=True)
        async with connect(mesh.target, payloads=strict) as strict_mesh:
            *_, last = [each async for each in strict_mesh.events.list(ProbeRequest)]
            with pytest.raises(FailedPrecondition, match="is not coded"):
                _ = last.message
        # One of another topic, or a request, is refused at the door; a changed one where it is read.
        coder = PayloadCoder(payloads)
        stub: Any = event_pb2_grpc.EventServiceStub(mesh.channel())
        raw = request("x").SerializeToString()

        def published(payload: bytes) -> Any:
            new = event_pb2.NewEvent(topic=TOPIC, payload=payload)
            return stub.PublishEvents(event_pb2.PublishEventsRequest(events=[new]))

        for payload in (coder.encode(raw, EVENT, "probe.v1.ProbeReply"), coder.encode(raw, REQUEST, CALL)):
            check(await refused(published(payload)), grpc.StatusCode.DATA_LOSS, "PAYLOAD_CORRUPT")
        changed = bytearray(coder.encode(raw, EVENT, TOPIC))
        changed[-1] ^= 1
        await published(bytes(changed))
        *_, last = [each async for each in keyed.events.list(ProbeRequest)]
        with pytest.raises(DataLoss):
            _ = last.message
        async with asyncio.timeout(20):
            while (await keyed.subscriptions.get("unreadable")).cursor < last.sequence:
                await asyncio.sleep(0.05)
        # Only the one that was not coded was seen by the filter that reads the message.
        assert (await keyed.subscriptions.get("unreadable")).submitted == 1
    for path in tmp_path.iterdir():
        if path.is_file() and path.name not in {"ledger", "a1.log"}:
            assert SECRET.encode() not in path.read_bytes(), path
