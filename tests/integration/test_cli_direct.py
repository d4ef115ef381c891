"""`weft call --direct` and `--explain`: every shape of call, the choice of an agent told, and failures that say what to do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.processes import environment
from weft.client import connect
from weft.v1 import coordinator_pb2

CALL = "probe.v1.ProbeService/Call"
STREAM = "probe.v1.ProbeService/Stream"
COLLECT = "probe.v1.ProbeService/Collect"
CHAT = "probe.v1.ProbeService/Chat"
WAIT_S = 20.0


async def test_a_direct_call_is_no_task(shared_mesh: MeshHarness) -> None:
    plain, as_json, streamed = await asyncio.gather(
        weft("call", CALL, '{"text": "hi"}', "--direct", "--metadata", "x-a=b", target=shared_mesh.target),
        weft("call", CALL, "-", "--direct", "--json", stdin='{"text": "piped"}', target=shared_mesh.target),
        weft(
            "call",
            STREAM,
            '{"streamCount": 3}',
            "--direct",
            "--policy",
            "weighted",
            target=shared_mesh.target,
        ),
    )
    assert plain.status == 0
    assert plain.document["text"] == "hi"
    assert "x-a=b" in plain.document["metadata"]
    assert plain.err.startswith("direct on a1, ")
    assert as_json.document["response"]["text"] == "piped"
    assert (as_json.document["agent_id"], as_json.document["task_id"]) == ("a1", "")
    assert [document["index"] for document in streamed.documents] == [1, 2, 3]
    async with connect(shared_mesh.target) as client:
        assert [task async for task in client.tasks.list()] == []


async def test_a_stream_of_requests_is_one_json_a_line(shared_mesh: MeshHarness, tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('{"text": "a"}\n\n{"text": "b"}')
    wrong = '{"text": "a"}\n{"txet": "b"}\n'
    collected, chatted, empty, failed, durable = await asyncio.gather(
        weft("call", COLLECT, f"@{file}", "--direct", target=shared_mesh.target),
        weft("call", CHAT, "-", "--direct", "--json", stdin=file.read_text(), target=shared_mesh.target),
        weft("call", CHAT, "--direct", "--json", target=shared_mesh.target),
        weft("call", COLLECT, "-", "--direct", stdin=wrong, target=shared_mesh.target),
        weft("call", COLLECT, f"@{file}", target=shared_mesh.target),
    )
    assert collected.document == {"text": "a b"}
    assert [document["response"] for document in chatted.documents[:-1]] == [{"text": "a"}, {"text": "b"}]
    assert chatted.documents[-1]["responses"] == 2
    assert empty.document["responses"] == 0
    assert (failed.status, failed.out) == (2, "")
    assert "line 2: the JSON does not fit" in failed.err
    assert "did you mean text?" in failed.err
    assert durable.status == 2
    assert "`weft call --direct` sends a stream" in durable.err


async def test_a_conversation(shared_mesh: MeshHarness) -> None:
    """Each line is sent, and each answer printed, at once; the end of the call is not held up by one who still thinks."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weft.cli.main", "call", CHAT, "-", "--direct", "--timeout", "2"),
        env=environment({"WEFT_TARGET": shared_mesh.target}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(WAIT_S):
        for text in ("one", "two"):
            process.stdin.write(b'{"text": "%s"}\n' % text.encode())
            assert await process.stdout.readline() == b'{"text": "%s"}\n' % text.encode()
        # Its input stays open; its deadline passes.
        assert await process.wait() == 1
        said = (await process.stderr.read()).decode()
    assert said.startswith("DEADLINE_EXCEEDED: the call did not end within its deadline of 2 s")
    assert "Fatal" not in said


async def test_a_choice_is_explained(shared_mesh: MeshHarness) -> None:
    table, document, unknown = await asyncio.gather(
        weft("call", CALL, "--explain", target=shared_mesh.target),
        weft("call", CHAT, "--explain", "--json", "--policy", "round_robin", target=shared_mesh.target),
        weft("call", "probe.v1.ProbeService/Cal", "--explain", target=shared_mesh.target),
    )
    assert table.status == 0
    heading, row, why = table.out.splitlines()
    assert heading.split("  ")[0] != "agent"
    assert row.split()[:2] == [">", "a1"]
    assert row.split()[3] == "ok"
    assert why.startswith("least_connections: a1 has the lowest score")
    assert (document.document["chosen"], document.document["policy"]) == ("a1", "round_robin")
    (candidate,) = document.document["candidates"]
    assert candidate["agent_id"] == "a1"
    assert candidate["connected"]
    assert candidate["weight"] == 8
    assert unknown.status == 2
    assert f"did you mean {CALL}" in unknown.err


async def test_a_full_agent(shared_mesh: MeshHarness) -> None:
    async with connect(shared_mesh.target) as client:
        probe = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True))
        streams = [probe.Chat(timeout=60) for _ in range(8)]
        for stream in streams:
            # It has its slot once it answers.
            await stream.write(probe_pb2.ProbeRequest(text="held"))
            await stream.read()
        done = await weft("call", CALL, "{}", "--direct", target=shared_mesh.target)
    assert done.status == 1
    assert done.err.startswith("RESOURCE_EXHAUSTED: all slots of this agent are taken\n")
    assert "Without --direct, the call waits for a free slot." in done.err
    assert "direct on a1" in done.err


async def test_nobody_can_be_called(mesh: MeshHarness) -> None:
    """Of two agents one takes no direct calls, and the other says a wrong address."""
    await mesh.coordinator()
    plain = "tests.support.plain:agent"
    await asyncio.gather(
        mesh.agent("off", program=plain, env={"WEFT_AGENT_LISTEN": "off"}),
        mesh.agent("lost", program=plain, env={"WEFT_AGENT_ADVERTISED_ADDRESS": "127.0.0.1:1"}),
    )

    async def found_out() -> bool:
        answer = await mesh.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)
        return any(agent.direct_problem for agent in answer.agents)

    await mesh.eventually(found_out, "the wrong address is found out")
    called, explained = await asyncio.gather(
        weft("call", CALL, "{}", "--direct", target=mesh.target),
        weft("call", CALL, "--explain", target=mesh.target),
    )
    for done in (called, explained):
        assert done.status == 1
        said = " ".join((done.out + done.err).split())
        assert f"no agent takes direct calls of {CALL}" in said
        assert "off takes no direct calls" in said
        assert "lost cannot be reached: cannot connect to 127.0.0.1:1: UNAVAILABLE" in said
    assert "Without --direct, the call waits for an agent" in called.err
