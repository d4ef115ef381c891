"""One suite for every kind of backend: OpenAI's API by llama.cpp itself, Ollama's by a server that follows it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.llama_server import LlamaServer
from tests.support.ollama_api import OllamaDouble
from weft.services.models.backends.backend import Backend, Piece
from weft.services.models.backends.ollama_backend import OllamaBackend
from weft.services.models.backends.openai_backend import OpenAIBackend
from weft.services.models.model_errors import ModelError
from weft.services.models.v1 import models_pb2

WORDS = "one two three four five six seven eight"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    with LlamaServer(tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble("tiny", "other") as server:
        yield server


@pytest.fixture(params=["openai", "ollama"])
async def backend(
    request: pytest.FixtureRequest, llama: LlamaServer, ollama: OllamaDouble
) -> AsyncIterator[Backend]:
    made: Backend
    if request.param == "openai":
        made = OpenAIBackend("b", llama.url, None, 5)
    else:
        made = OllamaBackend("b", ollama.url, None, 5)
    yield made
    await made.close()


def chat(**fields: Any) -> models_pb2.ChatRequest:
    message = models_pb2.ChatMessage(role=models_pb2.ROLE_USER, content=WORDS)
    sampling = {"max_tokens": 4, "temperature": 0.0, "seed": 1, "top_p": 0.9, "stop": ["zzzz"]}
    return models_pb2.ChatRequest(**{"messages": [message], "sampling": sampling} | fields)


async def pieces_of(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]


async def test_a_chat_ends_once_with_its_usage(backend: Backend) -> None:
    pieces = await pieces_of(backend.chat("tiny", chat()))
    assert "".join(piece.content for piece in pieces)
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == [
        models_pb2.FINISH_REASON_LENGTH
    ]
    assert pieces[-1].used is not None
    assert pieces[-1].used.completion_tokens == 4
    assert pieces[-1].used.prompt_tokens >= 8


async def test_a_text_is_gone_on_with(backend: Backend) -> None:
    request = models_pb2.GenerateRequest(prompt=WORDS, sampling={"max_tokens": 4})
    pieces = await pieces_of(backend.generate("tiny", request))
    assert pieces[-1].finish_reason == models_pb2.FINISH_REASON_LENGTH
    assert pieces[-1].used is not None
    assert pieces[-1].used.completion_tokens == 4


async def test_models_have_names(backend: Backend) -> None:
    assert [model.name for model in await backend.models() if not model.name] == []
    assert await backend.models()


async def test_a_schema_is_an_object(backend: Backend) -> None:
    with pytest.raises(ModelError, match="response_schema_json: must be a JSON object"):
        await pieces_of(backend.chat("tiny", chat(response_schema_json="[]")))


async def test_a_conversation_with_tools_is_taken(backend: Backend) -> None:
    call = models_pb2.ToolCall(id="c1", name="look", arguments_json='{"at": "x"}')
    messages = [
        *chat().messages,
        models_pb2.ChatMessage(role=models_pb2.ROLE_ASSISTANT, tool_calls=[call]),
        models_pb2.ChatMessage(role=models_pb2.ROLE_TOOL, tool_call_id="c1", content="nothing there"),
    ]
    tool = models_pb2.Tool(
        name="look", description="looks", parameters_json='{"type": "object", "properties": {}}'
    )
    pieces = await pieces_of(backend.chat("tiny", chat(messages=messages, tools=[tool])))
    assert pieces[-1].finish_reason


async def test_llama_cpp_counts_tokens_and_tells_its_window(llama: LlamaServer) -> None:
    backend = OpenAIBackend("b", llama.url, None, 5)
    assert await backend.count_tokens("tiny", chat()) is None
    (model,) = await backend.models()
    assert model.context_tokens == 512
    counted = await backend.count_tokens("tiny", chat())
    used = (await pieces_of(backend.chat("tiny", chat())))[-1].used
    assert used is not None
    assert counted is not None
    assert abs(counted - used.prompt_tokens) <= 1
    with pytest.raises(ModelError) as cannot:
        await backend.load("tiny", None)
    assert cannot.value.reason == "BACKEND_DENIED"
    await backend.close()


async def test_ollama_pulls_loads_and_unloads(ollama: OllamaDouble) -> None:
    backend = OllamaBackend("b", ollama.url, None, 5)
    steps = [step async for step in backend.pull("fetched")]
    assert steps[-1].done
    assert max(step.completed_bytes for step in steps) == 100
    with pytest.raises(ModelError):
        _ = [step async for step in backend.pull("nowhere")]
    await backend.load("fetched", 60)
    assert ollama.asked[-1][1]["keep_alive"] == 60
    states = {model.name: model.state for model in await backend.models()}
    assert states["fetched"] == models_pb2.MODEL_STATE_LOADED
    assert states["other"] == models_pb2.MODEL_STATE_STORED
    await backend.unload("fetched")
    assert {model.state for model in await backend.models()} == {models_pb2.MODEL_STATE_STORED}
    with pytest.raises(ModelError) as unknown:
        await backend.load("nowhere", None)
    assert unknown.value.reason == "MODEL_UNKNOWN"
    await backend.close()


async def test_ollama_calls_tools_keeps_to_schemas_and_makes_vectors(ollama: OllamaDouble) -> None:
    backend = OllamaBackend("b", ollama.url, None, 5)
    ollama.calls_tools = True
    tool = models_pb2.Tool(name="look", parameters_json='{"type": "object"}')
    last = (await pieces_of(backend.chat("tiny", chat(tools=[tool]))))[-1]
    assert last.finish_reason == models_pb2.FINISH_REASON_TOOL_CALLS
    assert [(each.id, each.name, json.loads(each.arguments_json)) for each in last.tool_calls] == [
        ("call-0", "look", {"n": 1})
    ]
    await pieces_of(backend.chat("tiny", chat(response_schema_json='{"type": "object"}')))
    assert ollama.asked[-1][1]["format"] == {"type": "object"}
    found = await backend.embed("tiny", ["ab", "abc"])
    assert [list(each) for each in found.vectors] == [[2.0, 1.0], [3.0, 1.0]]
    assert found.used is not None
    assert found.used.prompt_tokens == 5
    await backend.close()
