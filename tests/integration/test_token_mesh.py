"""A mesh of real processes that asks for tokens: clients, agents and the command show them, and are bound to their scopes."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from weft.agent import Agent
from weft.client import AgentState, FailedPrecondition, NotFound, PermissionDenied, Unauthenticated, connect
from weft.client.sync import connect as connect_sync
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.network.channel import Route, dial
from weft.rpc.security import tokens
from weft.rpc.security.token_source import LOOK_S, token_source
from weft.v1 import coordinator_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub

CALL = tasks.method("Call")


async def test_a_mesh_with_tokens(mesh: MeshHarness) -> None:
    operator = mesh.folder / "operator.token"
    await mesh.coordinator(tokens="on", operator_token_file=operator)

    async def made(role: str, *options: str) -> Path:
        file = mesh.folder / f"{role}-{len(list(mesh.folder.iterdir()))}.token"
        arguments = ("tokens", "create", "--role", role, *options, "--token-file", str(operator))
        run = await weft(*arguments, "--out", str(file), target=mesh.target)
        assert run.status == 0, run.err
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in run.out + run.err
        return file

    none = await weft("agents", "list", target=mesh.target)
    assert none.status == 1
    assert "WEFT_TOKEN" in none.err

    agent_token = await made(
        "agent", "--agent-ids", "w-*", "--hosts", "probe.*", "--labels", "zone=eu", "--uses", "1"
    )
    env = {"WEFT_TOKEN_FILE": str(agent_token)}
    await mesh.agent("w-1", labels={"zone": "eu"}, env=env, wait=False)
    client = connect(mesh.target, token=operator)

    async def state() -> AgentState | None:
        return next((agent.state for agent in await client.fleet.agents() if agent.id == "w-1"), None)

    async def active() -> bool:
        return await state() is AgentState.ACTIVE

    async with client:
        await mesh.eventually(active, "the agent is connected")

        # An agent beyond the scope of its token ends, with the coordinator's reason; so does one too many.
        for agent_id, labels, why in (
            ("x-1", {}, "agent_ids"),
            ("w-2", {"zone": "us"}, "labels"),
            ("w-3", {}, "is for 1 agents"),
        ):
            process = await mesh.agent(agent_id, labels=labels, env=env, wait=False)
            assert await process.wait() != 0
            assert why in process.log.read_text()
            assert agent_token.read_text().strip() not in process.log.read_text()

        # Labels that an operator sets are bound to the scope of the agent's token, too.
        select = client.fleet.select("w-1")
        (beyond,) = [each async for each in select.set_labels({"zone": "us"})]
        assert isinstance(beyond.error, PermissionDenied)
        assert beyond.error.reason_name == "OUT_OF_SCOPE"
        (within,) = [each async for each in select.set_labels(remove=["zone"])]
        assert "zone" not in within.result()
        (within,) = [each async for each in select.set_labels({"zone": "eu"})]
        assert within.result()["zone"] == "eu"
        audited = await weft(
            *("audit", "list", "--action", "*/CommandAgents", "--json", "--token-file", str(operator)),
            target=mesh.target,
        )
        events = [json.loads(each) for each in audited.out.splitlines()]
        assert len(events) == 3
        wanted = {"selector.agent_ids": "w-1", "command.command": "labels", "command.labels.set": "zone=us"}
        assert wanted in [each["details"] for each in events]

        # A client within its scope; its token is neither stored nor shown to the handler.
        scoped = await made("client", "--methods", "probe.*")
        text = scoped.read_text().strip()
        async with connect(mesh.target, token=text) as caller:
            task = await caller.tasks.submit(CALL, ProbeRequest(text="x"))
            assert (await task.result()) is not None
            with pytest.raises(PermissionDenied):
                await caller.tasks.submit("acme.v1.Other/Call", ProbeRequest())
            with pytest.raises(PermissionDenied):
                await caller.fleet.pause(CALL)
            # No library of weft's sends it so, and another one is told.
            stored = coordinator_pb2.SubmitTaskRequest(method=CALL)
            stored.options.context.metadata.add(key="authorization", value=f"Bearer {text}".encode())
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await CoordinatorServiceStub(caller.channel()).SubmitTask(stored)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert text not in Path(mesh.store).read_bytes().decode("latin-1")
        other = await made("client", "--methods", "other.*")
        async with connect(mesh.target, token=other) as stranger:
            with pytest.raises(NotFound):
                await stranger.tasks.get(task.id)
            assert [each async for each in stranger.tasks.list()] == []

        def blocking() -> int:
            with connect_sync(mesh.target, token=scoped) as threaded:
                return len(list(threaded.fleet.agents()))

        assert await asyncio.to_thread(blocking) == 1

        # A file with another token is read again; one that is revoked cuts the agent off.
        listed = (
            await weft("tokens", "list", "--json", "--token-file", str(operator), target=mesh.target)
        ).document
        (agents,) = (each for each in listed if each["role"] == "agent")
        assert agents["used_by"] == ["w-1"]
        revoked = await weft(
            "tokens", "revoke", agents["id"], "--token-file", str(operator), target=mesh.target
        )
        assert "revoked" in revoked.out

        async def cut_off() -> bool:
            return await state() is not AgentState.ACTIVE

        await mesh.eventually(cut_off, "the agent is cut off", timeout_s=2.5)
        fresh = await made("agent", "--agent-ids", "w-*")
        fresh.replace(agent_token)
        await mesh.eventually(active, "the agent is back by its new token")

        # An agent does not get events as tasks that it may not subscribe to.
        narrow = await made("agent", "--hosts", "probe.*", "--methods", "probe.v1.ProbeService/*")
        listener = Agent("w-9", target=mesh.target, token=narrow)

        @listener.on(ProbeRequest)
        async def note(_event: ProbeRequest) -> None: ...

        with pytest.raises(PermissionDenied, match="ProbeRequest"):
            await asyncio.wait_for(listener.serve(), 20)
        assert [each async for each in client.subscriptions.list()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files away")
@pytest.mark.parametrize(
    ("owner", "mode", "told"),
    [(0, 0o600, False), (0, 0o640, True), (0, 0o604, True), (1, 0o440, False), (1, 0o444, True)],
)
def test_a_token_that_others_may_read_is_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, owner: int, mode: int, told: bool
) -> None:
    """A pod's secrets are root's, and the pod's group reads them: that is as it should be."""
    (file := tmp_path / "token").write_text(tokens.generate(tokens.generate_id()))
    os.chown(file, owner, 0)
    file.chmod(mode)
    token_source(file)
    assert ("token.file_is_open_to_others" in caplog.text) == told


def test_a_token_source_follows_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weft.rpc.errors import InvalidArgument

    first, second = tokens.generate(tokens.generate_id()), tokens.generate(tokens.generate_id())
    file = tmp_path / "token"
    file.write_text(f"{first}\n")
    source = token_source(file)
    assert source is not None
    assert source.renewable
    assert source.text() == first
    file.write_text(f" {second} ")
    source._look_at_s = 0.0  # as after LOOK_S
    assert source.text() == second
    # A bad file keeps the last good token.
    file.write_text("weft_half")
    source._look_at_s = 0.0
    assert source.text() == second
    assert LOOK_S < 2
    for wrong in (tmp_path / "missing", file, "weft_half", "x" * 10_000, "\N{SNOWMAN}"):
        with pytest.raises(InvalidArgument) as refused:
            token_source(wrong)
        assert "weft_half" not in str(refused.value)
    monkeypatch.delenv("WEFT_TOKEN", raising=False)
    monkeypatch.delenv("WEFT_TOKEN_FILE", raising=False)
    assert token_source() is None
    monkeypatch.setenv("WEFT_TOKEN", first)
    assert token_source().text() == first  # type: ignore[union-attr]
    assert token_source(Path()) is None


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "localhost:1", "unix:/tmp/x", "ipv4:127.0.0.1:1,127.0.0.1:2"]
)
async def test_a_token_goes_to_this_machine(address: str) -> None:
    await dial(address, None, Route(token=token_source(_text()))).close()


@pytest.mark.parametrize(
    "address", ["10.0.0.1:1", "coordinator:7700", "ipv4:127.0.0.1:1,10.0.0.1:2", "[2001:db8::1]:1"]
)
async def test_a_token_does_not_go_elsewhere_without_tls(address: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        dial(address, None, Route(token=token_source(_text())))
    assert refused.value.reason_name == "TOKEN_UNSAFE"


def test_where_the_first_token_is_written(tmp_path: Path) -> None:
    assert CoordinatorSettings(address_file=tmp_path / "a").first_token_file == tmp_path / "a.token"
    assert CoordinatorSettings().first_token_file == Path("weft-operator.token")


def test_a_caller_without_a_token_can_tell() -> None:
    assert issubclass(Unauthenticated, Exception)


def _text() -> str:

    return tokens.generate(tokens.generate_id())
