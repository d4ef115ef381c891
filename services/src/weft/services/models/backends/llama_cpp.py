"""What servers with OpenAI's API tell beyond it: llama.cpp counts tokens, and several tell the windows of models."""

from __future__ import annotations

from typing import Any

from weft.services.models.backends.openai_messages import chat_arguments
from weft.services.models.v1 import models_pb2

# As it says who owns its models.
LLAMA_CPP = "llamacpp"


def window_of(model: Any) -> int:
    """The window of a listed model, as llama.cpp, vLLM or LiteLLM tell it; 0: not known."""
    meta = getattr(model, "meta", None)
    for value in (
        meta.get("n_ctx") if isinstance(meta, dict) else None,
        getattr(model, "max_model_len", None),
        getattr(model, "context_length", None),
    ):
        if isinstance(value, int) and 0 < value < 2**53:
            return value
    return 0


async def count_at(http: Any, url: str, headers: Any, request: models_pb2.ChatRequest) -> int | None:
    """Count the tokens of a conversation as llama.cpp will read it: with the model's own form, and its tools.

    Args:
        http: the client of the library.
    """
    root = url.removesuffix("/v1")
    asked = chat_arguments(request)
    body = {key: asked[key] for key in ("messages", "tools") if key in asked}
    prompt = (await http.post(f"{root}/apply-template", json=body, headers=headers)).raise_for_status().json()
    content = {"content": prompt["prompt"], "add_special": True, "parse_special": True}
    found = (await http.post(f"{root}/tokenize", json=content, headers=headers)).raise_for_status().json()
    return len(found["tokens"])
