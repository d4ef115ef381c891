"""The research service in a mesh: answers of rules and of a model, citations that exist, sessions; in a sandbox; called by clients that know nothing of weft."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.support.languages import Node, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from tests.support.sandboxed import need_bubblewrap
from weft.client import connect
from weft.rpc.errors import error_info, status_of_call
from weft.services.research.v1 import research_pb2 as pb
from weft.services.research.v1 import research_pb2_grpc

SERVICE = "weft.services.research.v1.ResearchService"
SECRET = "zanzibar"


def write_corpus(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "widgets.md").write_text(
        "# Widgets\n\nA widget weighs 42 kilograms.\nIt is blue.\n\nIts price is 7 coins.\n"
    )
    (folder / "sub" / "gears.txt").write_text("About gears.\n\nGears are made of\nbrass.\n")
    (folder / ".env").write_text("KEY=widget\n")
    (folder.parent / "outside.md").write_text(f"The widget's password is {SECRET}.\n")
    (folder / "link.md").symlink_to(folder.parent / "outside.md")
    (folder / "away").symlink_to(folder.parent)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    need_bubblewrap()
    folder = tmp_path_factory.mktemp("research")
    write_corpus(folder / "corpus")
    async with MeshHarness(folder) as harness:
        await harness.coordinator()
        harness.agent_env = {
            "WEFT_RESEARCH_FOLDER": str(folder / "corpus"),
            "WEFT_RESEARCH_SANDBOX": "require",
            "WEFT_RESEARCH_TOOLS": "shop.v1.Stock/Count,shop.v1.Stock/Missing",
            "WEFT_RESEARCH_MAX_ROUNDS": "4",
            "WEFT_RESEARCH_SESSION_TURNS": "2",
        }
        await harness.agent(
            "one", program="tests.support.researching_models:agent", services="research,planner", slots=8
        )
        await harness.wait_serving(SERVICE)
        await harness.close_channels()
        yield harness


@pytest.fixture
async def hosting(_hosting: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hosting
    await _hosting.close_channels()


@pytest.fixture
def stub(hosting: MeshHarness) -> Any:
    return research_pb2_grpc.ResearchServiceStub(hosting.channel())


async def asked(stub: Any, question: str, session_id: str = "s", **more: Any) -> pb.Answer:
    request = pb.AskRequest(session_id=session_id, question=question, **more)
    answer: pb.Answer = (await stub.AskOnce(pb.AskOnceRequest(ask=request), timeout=30)).answer
    return answer


def places(answer: pb.Answer) -> list[tuple[str, int, int]]:
    return [(each.source, each.first_line, each.last_line) for each in answer.citations]


async def test_rules_answer_with_lines_that_exist(stub: Any) -> None:
    answer = await asked(stub, "How heavy is a widget, what does it weigh?", "rules", rules_only=True)
    assert answer.source == pb.ANSWER_SOURCE_RULES
    assert places(answer)[0] == ("widgets.md", 3, 4)
    assert answer.citations[0].text == "A widget weighs 42 kilograms.\nIt is blue."
    assert "[1]" in answer.text
    # Neither what a link names, nor hidden files.
    answer = await asked(stub, f"widget password {SECRET} key", "rules", rules_only=True)
    assert SECRET not in str(answer)
    assert {each.source for each in answer.citations} <= {"widgets.md", "sub/gears.txt"}
    answer = await asked(stub, "Kangaroos?", "rules", rules_only=True)
    assert not answer.citations
    assert answer.text == "Nothing in the corpus has the words of the question."


async def test_a_model_searches_reads_and_cites(stub: Any) -> None:
    request = pb.AskRequest(session_id="model", question="How heavy is it?", model="m")
    events = [each async for each in stub.Ask(request, timeout=30)]
    done = [each.progress for each in events[:-1]]
    assert [each.activity for each in done] == [
        *(pb.ACTIVITY_SEARCHING, pb.ACTIVITY_ANSWERING, pb.ACTIVITY_SEARCHING, pb.ACTIVITY_ANSWERING),
        *(pb.ACTIVITY_READING, pb.ACTIVITY_ANSWERING, pb.ACTIVITY_ANSWERING),
    ]
    assert done[4].detail == "widgets.md"
    answer = events[-1].answer
    assert (answer.source, answer.model, answer.rounds, answer.tokens, answer.tool_calls) == (
        *(pb.ANSWER_SOURCE_MODEL, "m", 4, 60),
        2,
    )
    # One is as given, one was repaired, one was left out: and the text is renumbered.
    assert places(answer) == [("widgets.md", 3, 3), ("sub/gears.txt", 3, 4)]
    assert answer.citations[1].text == "Gears are made of\nbrass."
    assert answer.text == "It weighs 42 kg [1]. It is of cheese. Gears are of brass [2]."
    assert any("does not exist, and was left out: widgets.md:1-2" in each for each in answer.notes)
    assert any("repaired: sub/gears.txt:1-1 is at lines 3-4" in each for each in answer.notes)


async def test_a_method_of_the_mesh_is_a_tool(stub: Any) -> None:
    answer = await asked(stub, "How many desks are in stock?", "tools")
    assert answer.source == pb.ANSWER_SOURCE_MODEL, answer
    assert answer.text == "There are 7 desks [1]."
    assert answer.citations[0].kind == pb.SOURCE_KIND_TOOL
    assert '"there": 7' in answer.citations[0].text
    assert "The tool shop.v1.Stock/Missing is not there" in answer.notes[0]


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("circle of the widget", "within 4 rounds"),
        ("invent a widget", "within 4 rounds"),
        ("any other widget", "the backend does not take the key"),
    ],
)
async def test_rules_answer_where_the_model_does_not(stub: Any, question: str, note: str) -> None:
    answer = await asked(stub, question, forget=True)
    assert answer.source == pb.ANSWER_SOURCE_RULES
    assert answer.citations[0].source == "widgets.md"
    assert any(note in each and "so rules answered" in each for each in answer.notes)


async def test_marks_in_a_plain_answer_are_checked(stub: Any) -> None:
    answer = await asked(stub, "plain widget", forget=True)
    assert answer.source == pb.ANSWER_SOURCE_MODEL
    assert answer.text == "It weighs 42 kg [1], and not 7."
    assert places(answer) == [("widgets.md", 3, 3)]


async def test_sessions_are_kept_bounded_and_deleted(stub: Any) -> None:
    for number in (1, 2, 3):
        answer = await asked(stub, f"again widget {number}", "talk")
        assert answer.text == f"{min(number, 3)} turns [1]"
    session = (await stub.GetSession(pb.GetSessionRequest(session_id="talk"), timeout=10)).session
    assert [each.question for each in session.turns] == ["again widget 2", "again widget 3"]
    assert session.dropped_turns == 1
    assert session.turns[1].answer.citations[0].source == "widgets.md"
    listed = (await stub.ListSessions(pb.ListSessionsRequest(prefix="ta"), timeout=10)).sessions
    assert [each.session_id for each in listed] == ["talk"]
    assert listed[0].expire_time.seconds - listed[0].update_time.seconds == 7 * 86_400
    await stub.DeleteSession(pb.DeleteSessionRequest(session_id="talk"), timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await stub.GetSession(pb.GetSessionRequest(session_id="talk"), timeout=10)
    assert gone.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_direct_call_has_no_session(hosting: MeshHarness) -> None:
    async with connect(hosting.target) as mesh:
        direct = research_pb2_grpc.ResearchServiceStub(mesh.channel(direct=True))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked(direct, "widget")
        info = error_info(status_of_call(refused.value))
        assert info is not None
        assert (info.domain, info.reason) == ("weft.services.research", "NOT_DURABLE")
        answer = await asked(direct, "widget", forget=True, rules_only=True)
        assert answer.citations


async def test_grpcurl_asks_and_nothing_is_logged(hosting: MeshHarness) -> None:
    find_grpcurl()
    request = json.dumps({"session_id": "curl", "question": "price of a widget", "rules_only": True})
    code, printed = await grpcurl(hosting.target, [f"{SERVICE}/Ask"], ["-d", request])
    assert code == 0, printed
    assert "Its price is 7 coins." in printed
    assert "ACTIVITY_SEARCHING" in printed
    logs = hosting.logs()
    assert "weighs 42" not in logs
    assert "price of" not in logs


@pytest.mark.slow
async def test_the_reading_process_is_lost_and_made_again(hosting: MeshHarness, stub: Any) -> None:
    def reading() -> list[int]:
        found = []
        for each in Path("/proc").iterdir():
            if each.name.isdigit():
                try:
                    line = (each / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"The process that reads and indexes a corpus" in line and not line.startswith(b"bwrap"):
                    found.append(int(each.name))
        return found

    await asked(stub, "widget", forget=True, rules_only=True)
    found = reading()
    assert found
    for each in found:
        # The first of a sandbox takes the others with it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    # The first attempt may find it dead: it is tried again.
    answer = await asked(stub, "widget", forget=True, rules_only=True)
    assert answer.citations


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_calls_it_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    folders = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    words = [hosting.target, "weft/services/research/v1/research.proto", SERVICE, "AskOnce"]
    named = ["env", f"NODE_PATH={modules}", "node", str(ROOT / "tests" / "support" / "any_call.js"), *words]
    request = {"ask": {"session_id": "node", "question": "price of a widget", "rules_only": True}}
    answer = json.loads(run([*named, json.dumps(request), *folders], ROOT))["answer"]
    assert answer["citations"][0]["source"] == "widgets.md"
