"""`weft doctor` on a mesh: what works, what does not, and the exit status."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
import pytest
from grpc import aio
from grpc_channelz.v1 import channelz_pb2 as pb
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.beside import free_address
from tests.support.command import Finished, weft
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.redis_server import RedisServer
from weft.rpc.network.channel import dial


def channelz_in(log: Path) -> str:
    """Where a process says that its channelz is."""
    found = re.search(r"channelz\.opened.*?(127\.0\.0\.1:\d+)", log.read_text())
    assert found is not None, log.read_text()
    return found[1]


async def look_at_channelz(of_coordinator: str, of_agent: str, target: str) -> None:
    """The agent has a channel to the coordinator, and its socket is one of the coordinator's server."""
    async with dial(of_coordinator) as coordinator, dial(of_agent) as agent:
        servers, channels = ChannelzStub(coordinator), ChannelzStub(agent)
        (channel,) = (await channels.GetTopChannels(pb.GetTopChannelsRequest(), timeout=20)).channel
        assert channel.data.target.endswith(target)
        assert pb.ChannelConnectivityState.State.Name(channel.data.state.state) == "READY"
        asked = pb.GetSubchannelRequest(subchannel_id=channel.subchannel_ref[0].subchannel_id)
        (socket,) = (await channels.GetSubchannel(asked, timeout=20)).subchannel.socket_ref
        own = await channels.GetSocket(pb.GetSocketRequest(socket_id=socket.socket_id), timeout=20)
        port = own.socket.local.tcpip_address.port
        found = [
            ref.name
            for server in (await servers.GetServers(pb.GetServersRequest(), timeout=20)).server
            for ref in (
                await servers.GetServerSockets(
                    pb.GetServerSocketsRequest(server_id=server.ref.server_id), timeout=20
                )
            ).socket_ref
        ]
        assert len([name for name in found if name.endswith(f":{port}")]) == 1, found
        # The public port has none of it.
        async with dial(target) as public:
            with pytest.raises(aio.AioRpcError) as refused:
                await ChannelzStub(public).GetServers(pb.GetServersRequest(), timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def levels(done: Finished) -> dict[str, str]:
    return {each["subject"]: each["level"] for each in done.document}


async def test_what_works_and_what_does_not(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator(channelz="127.0.0.1:0")
    await mesh.agent("a1", env={"WEFT_AGENT_CHANNELZ": "127.0.0.1:0"})
    await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)
    ports = [channelz_in(mesh.folder / f"{name}.log") for name in ("coordinator", "a1")]
    await look_at_channelz(*ports, mesh.target)
    dead = free_address()
    async with RedisServer(tmp_path / "redis") as redis:
        well, half, none, server, ports_seen = await asyncio.gather(
            weft("doctor", "--json", target=mesh.target),
            weft("doctor", "--json", target=f"{mesh.target},{dead}"),
            weft("doctor", target=dead),
            weft("doctor", "--json", "--store", redis.url, target=mesh.target),
            weft("doctor", "--json", "--channelz", ",".join([*ports, mesh.target]), target=mesh.target),
        )
    assert well.status == 0, well
    assert levels(well)[f"coordinator {mesh.target}"] == "ok"
    assert levels(well)["agents"] == "ok"
    # One of two is away: the rest is looked at through the other.
    assert half.status == 1
    assert levels(half)[f"coordinator {dead}"] == "problem"
    assert levels(half)["agents"] == "ok"
    assert none.status == 1
    assert "no gRPC server answers" in none.out
    assert "→ is it running" in none.out
    assert "agents:" not in none.out
    assert none.out.endswith("1 problem, 0 warnings\n")
    told = {each["subject"]: each for each in ports_seen.document}
    assert [told[f"connections of {port}"]["level"] for port in (*ports, mesh.target)] == [
        "ok",
        "ok",
        "problem",
    ]
    assert "1 channel: 1 READY" in told[f"connections of {ports[1]}"]["text"]
    (store,) = [
        each
        for each in server.document
        if each["subject"].startswith("store redis://") and each["level"] == "ok"
    ]
    assert "no data of weft yet" in store["text"]


async def test_a_store_that_is_none(tmp_path: Path) -> None:
    dead = free_address()
    done = await weft("doctor", "--json", "--store", f"redis://user:hunter2@{dead}/0", target=dead)
    assert done.status == 1
    assert levels(done)["store"] == "problem"
    assert "hunter2" not in done.out + done.err
    wrong = await weft("doctor", "--store", "redis://:x/none", env={"WEFT_USE_PROXY": "perhaps"})
    assert wrong.status == 2
    assert "WEFT_USE_PROXY" in wrong.err


async def test_health_of_a_server_for_probes(shared_mesh: MeshHarness) -> None:
    dead = free_address()
    well, hosted, unknown, away = await asyncio.gather(
        weft("health", target=shared_mesh.target),
        weft("health", PROBE_SERVICE, "--json", target=shared_mesh.target),
        weft("health", "no.such.v1.Service", target=shared_mesh.target),
        weft("health", "--timeout", "0.3", target=dead),
    )
    assert (well.status, well.out) == (0, "SERVING\n")
    assert (hosted.status, hosted.document) == (0, {"service": PROBE_SERVICE, "status": "SERVING"})
    assert (unknown.status, unknown.out) == (1, "SERVICE_UNKNOWN\n")
    assert away.status == 1
    assert f"{dead} does not answer within 0.3 s" in away.err
