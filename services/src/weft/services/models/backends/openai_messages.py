"""Chat requests as JSON of OpenAI's API, and what of its answers can be trusted to be as it should. Pure."""

from __future__ import annotations

from typing import Any

from weft.rpc import bounded_json
from weft.services.models.model_errors import wrong_request
from weft.services.models.v1 import models_pb2

_ROLES = {
    models_pb2.ROLE_SYSTEM: "system",
    models_pb2.ROLE_USER: "user",
    models_pb2.ROLE_ASSISTANT: "assistant",
    models_pb2.ROLE_TOOL: "tool",
}
_CHOICES = {
    models_pb2.TOOL_CHOICE_AUTO: "auto",
    models_pb2.TOOL_CHOICE_NONE: "none",
    models_pb2.TOOL_CHOICE_REQUIRED: "required",
}
FINISHES = {
    "stop": models_pb2.FINISH_REASON_STOP,
    "length": models_pb2.FINISH_REASON_LENGTH,
    "tool_calls": models_pb2.FINISH_REASON_TOOL_CALLS,
    "function_call": models_pb2.FINISH_REASON_TOOL_CALLS,
    "content_filter": models_pb2.FINISH_REASON_CONTENT_FILTER,
}


def chat_arguments(request: models_pb2.ChatRequest) -> dict[str, Any]:
    """The body of a chat completion, without the model.

    Raises:
        ModelError: a text of the request is no JSON object.
    """
    body: dict[str, Any] = {"messages": [message_json(each) for each in request.messages]}
    if request.tools:
        body["tools"] = [tool_json(each, f"tools[{number}]") for number, each in enumerate(request.tools)]
        if request.tool_choice in _CHOICES:
            body["tool_choice"] = _CHOICES[request.tool_choice]
    if request.response_schema_json:
        schema = json_object(request.response_schema_json, "response_schema_json")
        body["response_format"] = (
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            if schema
            else {"type": "json_object"}
        )
    return body | sampling_json(request.sampling)


def sampling_json(sampling: models_pb2.Sampling) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if sampling.max_tokens:
        body["max_tokens"] = sampling.max_tokens
    for field in ("temperature", "top_p", "seed"):
        if sampling.HasField(field):
            body[field] = getattr(sampling, field)
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


def message_json(message: models_pb2.ChatMessage) -> dict[str, Any]:
    body: dict[str, Any] = {"role": _ROLES[message.role], "content": message.content}
    if message.role == models_pb2.ROLE_TOOL:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json},
            }
            for call in message.tool_calls
        ]
    return body


def tool_json(tool: models_pb2.Tool, place: str) -> dict[str, Any]:
    parameters = (
        json_object(tool.parameters_json, f"{place}.parameters_json")
        if tool.parameters_json
        else {"type": "object", "properties": {}}
    )
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }


def json_object(text: str, place: str) -> dict[str, Any]:
    """
    Raises:
        ModelError: the text is no JSON object.
    """
    try:
        found = bounded_json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise wrong_request(f"{place}: must be a JSON object")
    return found
