"""Requests as Ollama's API has them, and its answers as ours. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from weft.rpc import bounded_json
from weft.services.models.backends.openai_messages import json_object, tool_json
from weft.services.models.model_errors import denied, garbage
from weft.services.models.v1 import models_pb2

_ROLES = {
    models_pb2.ROLE_SYSTEM: "system",
    models_pb2.ROLE_USER: "user",
    models_pb2.ROLE_ASSISTANT: "assistant",
    models_pb2.ROLE_TOOL: "tool",
}
_MAX_CALLS = 256


def chat_arguments(backend: str, request: models_pb2.ChatRequest) -> dict[str, Any]:
    """What `ollama.chat` takes beside the model.

    Raises:
        ModelError: a text of the request is no JSON object, or Ollama cannot do what is asked.
    """
    names = {call.id: call.name for message in request.messages for call in message.tool_calls}
    arguments: dict[str, Any] = {
        "messages": [_message(each, names) for each in request.messages],
        "options": options_of(request.sampling),
    }
    if request.tools and request.tool_choice != models_pb2.TOOL_CHOICE_NONE:
        if request.tool_choice == models_pb2.TOOL_CHOICE_REQUIRED:
            raise denied(backend, "Ollama cannot be told that a tool must be called")
        arguments["tools"] = [
            tool_json(each, f"tools[{number}]") for number, each in enumerate(request.tools)
        ]
    if request.response_schema_json:
        arguments["format"] = json_object(request.response_schema_json, "response_schema_json") or "json"
    return arguments


def generate_arguments(request: models_pb2.GenerateRequest) -> dict[str, Any]:
    """What `ollama.generate` takes beside the model."""
    return {"prompt": request.prompt, "raw": True, "options": options_of(request.sampling)}


def options_of(sampling: models_pb2.Sampling) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if sampling.max_tokens:
        options["num_predict"] = sampling.max_tokens
    for field in ("temperature", "top_p", "seed"):
        if sampling.HasField(field):
            options[field] = getattr(sampling, field)
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    return options


def _message(message: models_pb2.ChatMessage, names: dict[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {"role": _ROLES[message.role], "content": message.content}
    if message.role == models_pb2.ROLE_TOOL:
        body["tool_name"] = names.get(message.tool_call_id, message.tool_call_id)
    if message.tool_calls:
        body["tool_calls"] = [
            {"function": {"name": call.name, "arguments": _arguments(call.arguments_json)}}
            for call in message.tool_calls
        ]
    return body


def _arguments(text: str) -> dict[str, Any]:
    # A model wrote it: it may be anything, and Ollama takes objects alone.
    try:
        found = bounded_json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"arguments": text}


def tool_calls_of(backend: str, calls: Sequence[Any] | None, before: int) -> list[models_pb2.ToolCall]:
    """The calls of a part of an answer. Ollama gives them no ids: they get their numbers."""
    if before + len(calls or ()) > _MAX_CALLS:
        raise garbage(backend, "it calls more tools than an answer can have")
    return [
        models_pb2.ToolCall(
            id=f"call-{before + number}",
            name=call.function.name,
            arguments_json=json.dumps(dict(call.function.arguments)),
        )
        for number, call in enumerate(calls or ())
    ]


def finish_of(part: Any, calls: Sequence[models_pb2.ToolCall]) -> models_pb2.FinishReason:
    if calls:
        return models_pb2.FINISH_REASON_TOOL_CALLS
    return models_pb2.FINISH_REASON_LENGTH if part.done_reason == "length" else models_pb2.FINISH_REASON_STOP
