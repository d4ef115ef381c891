"""The service of models: its settings and rules, which people write, and requests of any client as its backends get them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from google.protobuf.message import DecodeError
from pydantic import ValidationError

from tests.fuzz.target import target, text_of
from weft.services.models.backends import ollama_messages, openai_messages
from weft.services.models.backends.rules_backend import read_rules
from weft.services.models.model_errors import ModelError
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2


def _seed() -> bytes:
    call = models_pb2.ToolCall(id="call-1", name="look", arguments_json='{"at": [1, null]}')
    return models_pb2.ChatRequest(
        messages=[
            models_pb2.ChatMessage(role=models_pb2.ROLE_USER, content="hello"),
            models_pb2.ChatMessage(role=models_pb2.ROLE_ASSISTANT, tool_calls=[call]),
            models_pb2.ChatMessage(role=models_pb2.ROLE_TOOL, tool_call_id="call-1", content="3"),
        ],
        tools=[models_pb2.Tool(name="look", parameters_json='{"type": "object"}')],
        response_schema_json="{}",
    ).SerializeToString()


@target(
    "weft/services/models/backends/openai_messages",
    "weft/services/models/backends/ollama_messages",
    seeds=lambda: [_seed()],
    raises=(DecodeError, ModelError),
    max_bytes=4096,
)
def chat_request(data: bytes) -> None:
    request = models_pb2.ChatRequest.FromString(data)
    for body in (openai_messages.chat_arguments(request), ollama_messages.chat_arguments("b", request)):
        json.dumps(body)


@target(
    "weft/services/models/settings",
    seeds=lambda: [
        b"small=openai+http://127.0.0.1:1/v1,rules=answers.toml\nsmall/m\nsmall=8192\nsmall=key",
        b'{"small": "openai+http://127.0.0.1:1/v1"}\nsmall/m\n{"m": 1e3}\nsmall=\xc3\xa9',
    ],
    # As it is asked for, by whom it is caught: the command.
    raises=(ValidationError, ValueError),
    max_bytes=2048,
)
def models_settings(data: bytes) -> None:
    backends, models, tokens, keys = (text_of(data).split("\n", 3) + [""] * 4)[:4]
    made = ModelsSettings(backends=backends, models=models, context_tokens=tokens, keys=keys)  # type: ignore[arg-type]
    for name in made.backends:
        made.address(name)
    made.read_keys()


@target(
    "weft/services/models/backends/rules_backend",
    seeds=lambda: [
        b'[[rules]]\nmatch = "(?i)hello"\nanswer = "hi"\n',
        b'[[rules]]\nmatch = "a{99999999999}"\nanswer = 1\n',
        b'rules = "text"\n',
        b"rules = 1\n",
    ],
    raises=(ValueError,),
    max_bytes=1024,
)
def answer_rules(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.toml"
        file.write_bytes(data)
        read_rules(file)
