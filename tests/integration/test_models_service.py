"""The models service in a mesh, with a real server of models behind it, called by clients that know nothing of weft."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from tests.support.languages import Node, run
from tests.support.llama_server import LlamaServer
from tests.support.mesh import MeshHarness
from tests.support.ollama_api import ollama_in_thread
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from tests.support.refusals import check
from weft.client import connect
from weft.rpc.errors import status_of_call
from weft.services.models.v1 import models_pb2, models_pb2_grpc
from weft.v1 import coordinator_pb2

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
        with ollama_in_thread("small", "large", "tiny") as ollama:
            ollama.loaded["large"] = True
            env = {
                "WEFT_MODELS_BACKENDS": f"ollama=ollama+{ollama.url}",
                "WEFT_MODELS_CONTEXT_TOKENS": "small=100",
                "WEFT_MODELS_COMPLETION_PRICES": "small=1000000",
            }
            await harness.agent("keeps", program="", services="models", env=env)
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
    return models_pb2.ChatRequest(**{"messages": [message], "sampling": sampling} | fields)


THINKS, KEEPS = (("weft-agent", "thinks"),), (("weft-agent", "keeps"),)
# Direct calls cannot name an agent; tasks can.
DURABLE = (("weft-mode", "durable"),)


async def stub_at(hosting: MeshHarness, agent_id: str) -> Any:
    """A stub at an agent's own port."""
    agents = (await hosting.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)).agents
    (address,) = [each.advertised_address for each in agents if each.id == agent_id]
    channel = grpc.aio.insecure_channel(address)
    hosting._channels.append(channel)
    return models_pb2_grpc.ModelServiceStub(channel)


async def reason_of(call: Any) -> str:
    """The reason of the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    status = status_pb2.Status()
    for key, value in failed.value.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            assert info.domain == "models.weft.services"
    return str(info.reason)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["direct", "durable"])
async def test_an_answer_comes_in_pieces_from_the_fallback(
    hosting: MeshHarness, stub: Any, mode: str
) -> None:
    if mode == "direct":
        # At the agent's own port: a direct call through the coordinator goes to any agent.
        stub = await stub_at(hosting, "thinks")
    call = stub.Chat(asking(SECRET), timeout=30, metadata=(*DURABLE, *THINKS) if mode == "durable" else ())
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
    answer = await stub.ChatOnce(models_pb2.ChatOnceRequest(chat=formed), timeout=30, metadata=THINKS)
    assert isinstance(json.loads(answer.message.content)["n"], bool)


async def test_models_are_listed_with_what_is_wrong_with_their_backends(stub: Any) -> None:
    listed = await stub.ListModels(models_pb2.ListModelsRequest(), timeout=30, metadata=THINKS)
    gone, llama = listed.backends
    assert (gone.name, gone.kind, gone.fault) == ("gone", "openai", "gone fails: no connection")
    assert llama.models
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListModels(models_pb2.ListModelsRequest(backend="other"), timeout=30, metadata=THINKS)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_text_is_gone_on_with(stub: Any) -> None:
    request = models_pb2.GenerateRequest(prompt="hello", model="llama/tiny", sampling={"max_tokens": 4})
    pieces = [piece async for piece in stub.Generate(request, timeout=30, metadata=(*DURABLE, *THINKS))]
    assert pieces[0].source.backend == "llama"
    assert pieces[-1].usage.completion_tokens == 4


async def test_calls_of_embed_share_a_request(hosting: MeshHarness) -> None:
    stub = await stub_at(hosting, "thinks")

    async def embed(*texts: str) -> Any:
        return await stub.Embed(models_pb2.EmbedRequest(model="llama/tiny", texts=texts), timeout=30)

    one, other, two = await asyncio.gather(embed("hello"), embed("world"), embed("world", "hello"))
    assert [len(each.values) for each in two.embeddings] == [32, 32]
    assert list(two.embeddings[1].values) == pytest.approx(list(one.embeddings[0].values), abs=1e-3)
    assert list(two.embeddings[0].values) == pytest.approx(list(other.embeddings[0].values), abs=1e-3)
    assert one.usage.prompt_tokens > 0


async def test_equal_calls_of_embed_share_their_answer(stub: Any) -> None:
    # Both agents have a model of this name.
    request = models_pb2.EmbedRequest(model="tiny", texts=["hello"])
    first = await stub.Embed(request, timeout=30)
    call = stub.Embed(request, timeout=30)
    assert await call == first
    assert ("weft-cached", "true") in tuple(await call.trailing_metadata())


@pytest.mark.parametrize("fit", ["DROP_OLDEST", "SUMMARIZE", "REFUSE"])
async def test_a_long_conversation_is_made_to_fit(stub: Any, fit: str) -> None:
    messages = [models_pb2.ChatMessage(role=models_pb2.ROLE_SYSTEM, content="be short")]
    messages += [models_pb2.ChatMessage(role=USER, content=f"{number} " * 100) for number in range(9)]
    messages.append(models_pb2.ChatMessage(role=USER, content="the last"))
    how = models_pb2.ContextFit.Value(f"CONTEXT_FIT_{fit}")
    chat = asking("", messages=messages, context_fit=how, model="llama/tiny")
    call = stub.ChatOnce(models_pb2.ChatOnceRequest(chat=chat), timeout=60, metadata=THINKS)
    if fit == "REFUSE":
        assert await reason_of(call) == "CONTEXT_TOO_LONG"
        return
    answer = await call
    # The window has 512 tokens: as many messages stay as fit, counted by the server.
    assert 0 < answer.source.left_out_messages < 10
    assert 200 < answer.usage.prompt_tokens <= 512 - 8


async def test_models_are_fetched_loaded_switched_and_labels_follow(hosting: MeshHarness, stub: Any) -> None:
    async def labels() -> dict[str, str]:
        agents = (await hosting.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)).agents
        (found,) = [each.labels for each in agents if each.id == "keeps"]
        return {
            key: value for key, value in found.items() if key.startswith("model.") and key != "model.tiny"
        }

    assert await labels() == {"model.small": "stored", "model.large": "loaded"}
    # Placement by model: no other agent has it.
    required = (("weft-require", "model.large=loaded"),)
    answer = await stub.ChatOnce(
        models_pb2.ChatOnceRequest(chat=asking("a b", model="large")), timeout=30, metadata=required
    )
    assert answer.source.backend == "ollama"
    steps = [
        step
        async for step in stub.PullModel(
            models_pb2.PullModelRequest(model="fetched"), timeout=30, metadata=(*DURABLE, *KEEPS)
        )
    ]
    assert steps[-1].done
    assert len(steps) < 20
    switched = await stub.SwitchModel(
        models_pb2.SwitchModelRequest(model="small"), timeout=30, metadata=KEEPS
    )
    assert list(switched.unloaded_models) == ["large"]
    assert await labels() == {"model.small": "loaded", "model.large": "stored", "model.fetched": "stored"}
    answer = await stub.ChatOnce(models_pb2.ChatOnceRequest(chat=asking("a b c")), timeout=30, metadata=KEEPS)
    assert answer.source.model == "small"
    assert answer.usage.cost == pytest.approx(3)
    request = models_pb2.LoadModelRequest(model="large", keep_for={"seconds": 60})
    await stub.LoadModel(request, timeout=30, metadata=KEEPS)
    await stub.UnloadModel(models_pb2.UnloadModelRequest(model="small"), timeout=30, metadata=KEEPS)
    assert (await labels())["model.large"] == "loaded"
    assert (
        await reason_of(
            stub.LoadModel(models_pb2.LoadModelRequest(model="llama/tiny"), timeout=30, metadata=THINKS)
        )
        == "BACKEND_DENIED"
    )
    assert (
        await reason_of(
            stub.UnloadModel(models_pb2.UnloadModelRequest(model="nowhere"), timeout=30, metadata=KEEPS)
        )
        == "MODEL_UNKNOWN"
    )


async def test_tokens_are_usage(hosting: MeshHarness, stub: Any) -> None:
    await stub.ChatOnce(
        models_pb2.ChatOnceRequest(chat=asking("a b c", model="small")), timeout=30, metadata=KEEPS
    )

    async def counted() -> bool:
        async with connect(hosting.target) as mesh:
            used = dict((await mesh.usage(by="method")).entries)
        units = used[f"{SERVICE}/ChatOnce"].units if f"{SERVICE}/ChatOnce" in used else {}
        return bool(units.get("tokens") and units.get("cost"))

    await hosting.eventually(counted, "tokens and cost are counted")


SPENDING = {
    "ChatOnce": lambda: models_pb2.ChatOnceRequest(chat=asking("a b c", model="small")),
    "Chat": lambda: asking("a b c", model="small"),
    "Generate": lambda: models_pb2.GenerateRequest(prompt="a b c", model="small"),
    "Embed": lambda: models_pb2.EmbedRequest(texts=["a b c"], model="small"),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", SPENDING)
async def test_a_spent_budget_of_tokens_refuses_further_calls(
    hosting: MeshHarness, stub: Any, method: str
) -> None:
    async def ask() -> None:
        call = getattr(stub, method)(SPENDING[method](), timeout=30, metadata=(*KEEPS, *DURABLE))
        if isinstance(call, grpc.aio.UnaryStreamCall):
            assert [part async for part in call]
        else:
            await call

    async with connect(hosting.target) as mesh:
        await mesh.budgets.set("spent", 1, "tokens", method=f"{SERVICE}/{method}")
        try:
            refusal: status_pb2.Status | None = None

            async def spent() -> bool:
                nonlocal refusal
                try:
                    await ask()
                except grpc.aio.AioRpcError as error:
                    refusal = status_of_call(error)
                return refusal is not None

            await hosting.eventually(spent, "the budget is spent")
            assert refusal is not None
            check(refusal, grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_SPENT")
            assert "the budget spent of 1 tokens is spent" in refusal.message
            # It bounds this method alone.
            await stub.ListModels(models_pb2.ListModelsRequest(), timeout=30)
        finally:
            await mesh.budgets.delete("spent")
        await ask()


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
            await stub.ChatOnce(models_pb2.ChatOnceRequest(chat=request), timeout=30, metadata=THINKS)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, says
        assert says in str(refused.value.details())


async def test_grpcurl_asks(hosting: MeshHarness) -> None:
    find_grpcurl()
    request = {"messages": [{"role": "ROLE_USER", "content": "a b c d e f"}], "sampling": {"max_tokens": 4}}
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
    chat = {"messages": [{"role": "ROLE_USER", "content": "a b c d e f"}], "sampling": {"max_tokens": 4}}
    named = ["env", f"NODE_PATH={modules}", "node", str(script), *words, json.dumps({"chat": chat})]
    assert json.loads(run([*named, *places], ROOT))["usage"]["completion_tokens"] == 4


async def test_no_prompt_is_in_a_log(hosting: MeshHarness, stub: Any) -> None:
    call = stub.Chat(asking(SECRET, model="llama/tiny"), timeout=30, metadata=(*DURABLE, *THINKS))
    assert [piece async for piece in call]
    for log in hosting.folder.glob("*.log"):
        assert SECRET not in log.read_text(), log
