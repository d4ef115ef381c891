"""The models service in a mesh, with a real server of models behind it, called by clients that know nothing of weft."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.support.languages import Node, run
from tests.support.llama_server import LlamaServer
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from weft.services.models.v1 import models_pb2, models_pb2_grpc

SERVICE = "weft.services.models.v1.ModelService"
USER = models_pb2.ROLE_USER
SECRET = "the-secret-of-the-prompt"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    with LlamaServer(tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosting(
    tmp_path_factory: pytest.TempPathFactory, llama: LlamaServer
) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("models")) as harness:
        await harness.coordinator()
        env = {
            "WEFT_MODELS_BACKENDS": f"gone=openai+http://127.0.0.1:9/v1,llama=openai+{llama.url}",
            "WEFT_MODELS_MODELS": "gone/large,llama/tiny",
            "OPENAI_LOG": "debug",
        }
        await harness.agent("thinks", program="", services="models", env=env)
        await harness.close_channels()
        yield harness


@pytest.fixture
async def hosting(_hosting: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hosting
    await _hosting.close_channels()


@pytest.fixture
def stub(hosting: MeshHarness) -> Any:
    return models_pb2_grpc.ModelServiceStub(hosting.channel())


def asking(text: str, **fields: Any) -> models_pb2.ChatRequest:
    sampling = models_pb2.Sampling(max_tokens=8, temperature=0)
    message = models_pb2.ChatMessage(role=USER, content=text)
    return models_pb2.ChatRequest(messages=[message], **{"sampling": sampling} | fields)


@pytest.mark.parametrize("mode", ["direct", "durable"])
async def test_an_answer_comes_in_pieces_from_the_fallback(stub: Any, mode: str) -> None:
    call = stub.Chat(asking(SECRET), timeout=30, metadata=(("weft-mode", mode),))
    pieces = [piece async for piece in call]
    assert pieces[0].source == models_pb2.AnswerSource(backend="llama", model="tiny", fallback=True)
    assert "".join(piece.content for piece in pieces)
    assert [bool(piece.finish_reason) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].finish_reason == models_pb2.FINISH_REASON_LENGTH
    assert pieces[-1].usage.completion_tokens == 8
    assert pieces[-1].usage.prompt_tokens > len(SECRET) / 2
    assert not pieces[-1].usage.estimated


async def test_a_whole_answer_keeps_to_a_schema(stub: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "boolean"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    sampling = models_pb2.Sampling(max_tokens=200, temperature=0)
    formed = asking("hello", response_schema_json=json.dumps(schema), sampling=sampling)
    answer = await stub.ChatOnce(models_pb2.ChatOnceRequest(chat=formed), timeout=30)
    assert isinstance(json.loads(answer.message.content)["n"], bool)


async def test_models_are_listed_with_what_is_wrong_with_their_backends(stub: Any) -> None:
    listed = await stub.ListModels(models_pb2.ListModelsRequest(), timeout=30)
    gone, llama = listed.backends
    assert (gone.name, gone.kind, gone.fault) == ("gone", "openai", "gone fails: no connection")
    assert llama.models
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListModels(models_pb2.ListModelsRequest(backend="other"), timeout=30)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_wrong_requests_are_refused(stub: Any) -> None:
    tool = models_pb2.Tool(name="t", parameters_json="[1]")
    for request, says in (
        (models_pb2.ChatRequest(), "messages: must contain at least 1 item"),
        (models_pb2.ChatRequest(messages=[{}]), "messages[0].role"),
        (asking("x", sampling={"temperature": float("nan")}), "sampling.temperature"),
        (asking("x", tools=[tool]), "tools[0].parameters_json: must be a JSON object"),
        (asking("x", response_schema_json="[" * 200_000), "response_schema_json: must be a JSON object"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ChatOnce(models_pb2.ChatOnceRequest(chat=request), timeout=30)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, says
        assert says in str(refused.value.details())


async def test_grpcurl_asks(hosting: MeshHarness) -> None:
    find_grpcurl()
    request = {"messages": [{"role": "ROLE_USER", "content": "hello"}], "sampling": {"max_tokens": 4}}
    code, printed = await grpcurl(hosting.target, [f"{SERVICE}/Chat"], ["-d", json.dumps(request)])
    assert code == 0, printed
    assert '"finish_reason": "FINISH_REASON_LENGTH"' in printed


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_asks_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    words = [hosting.target, "weft/services/models/v1/models.proto", SERVICE, "ChatOnce"]
    places = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    script = ROOT / "tests" / "support" / "any_call.js"
    chat = {"messages": [{"role": "ROLE_USER", "content": "hello"}], "sampling": {"max_tokens": 4}}
    named = ["env", f"NODE_PATH={modules}", "node", str(script), *words, json.dumps({"chat": chat})]
    assert json.loads(run([*named, *places], ROOT))["usage"]["completion_tokens"] == 4


async def test_no_prompt_is_in_a_log(hosting: MeshHarness, stub: Any) -> None:
    call = stub.Chat(asking(SECRET), timeout=30)
    assert [piece async for piece in call]
    for log in hosting.folder.glob("*.log"):
        assert SECRET not in log.read_text(), log
