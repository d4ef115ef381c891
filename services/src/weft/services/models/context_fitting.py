"""Fits conversations to the windows of models: which messages stay. The rules are pure; counting is the caller's.

A turn is what stays or goes together: a message, or calls of tools with their results. The system's messages and the last turn stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.rpc.enum_names import enum_name
from weft.services.models.answer_usage import estimate_message_tokens, estimate_tokens
from weft.services.models.v1 import models_pb2

# Of a window, for an answer without a bound: a quarter, and no more than these.
_MOST_RESERVED = 1024
SUMMARY_TOKENS = 256
_SUMMARIZE = "Summarize the following part of a conversation in a few sentences, so that it can be gone on with. Keep names, numbers, decisions and open questions."
_SUMMARY = "What was said before, in short: "


def room_tokens(window: int, sampling: models_pb2.Sampling) -> int:
    """What a prompt may have, so that there is room for the answer."""
    return max(0, window - (sampling.max_tokens or min(window // 4, _MOST_RESERVED)))


def surely_fits(request: models_pb2.ChatRequest, room: int) -> bool:
    """Whether it fits without a doubt: no text has more tokens than bytes, and forms of conversations add few to a message."""
    return request.ByteSize() + 16 * len(request.messages) + 64 <= room


def estimated_tokens(request: models_pb2.ChatRequest) -> int:
    tools = sum(estimate_tokens(tool.ByteSize()) for tool in request.tools)
    return tools + sum(map(estimate_message_tokens, request.messages))


def droppable_turns(messages: Sequence[models_pb2.ChatMessage]) -> list[list[int]]:
    """The indexes of the turns that may go, oldest first."""
    turns: list[list[int]] = []
    for index, message in enumerate(messages):
        if message.role == models_pb2.ROLE_SYSTEM:
            continue
        if message.role == models_pb2.ROLE_TOOL and turns:
            turns[-1].append(index)
        else:
            turns.append([index])
    return turns[:-1]


def without(
    request: models_pb2.ChatRequest, left_out: Sequence[int], summary: str = ""
) -> models_pb2.ChatRequest:
    """The request without some messages, and with a summary of them in their place."""
    gone = set(left_out)
    cut = models_pb2.ChatRequest()
    cut.CopyFrom(request)
    del cut.messages[:]
    for index, message in enumerate(request.messages):
        if summary and gone and index == min(gone):
            cut.messages.add(role=models_pb2.ROLE_SYSTEM, content=_SUMMARY + summary)
        if index not in gone:
            cut.messages.append(message)
    return cut


def summary_request(
    request: models_pb2.ChatRequest, left_out: Sequence[int], window: int
) -> models_pb2.ChatRequest:
    """What asks for a summary of some messages: of as much of their end as the window surely holds."""
    said = "\n".join(
        f"{enum_name(models_pb2.Role, request.messages[index].role, 'ROLE_').lower()}: {request.messages[index].content}"
        for index in left_out
    )
    most_bytes = max(64, window - SUMMARY_TOKENS - len(_SUMMARIZE) - 128)
    text = said.encode()[-most_bytes:].decode(errors="ignore")
    return models_pb2.ChatRequest(
        messages=[
            models_pb2.ChatMessage(role=models_pb2.ROLE_SYSTEM, content=_SUMMARIZE),
            models_pb2.ChatMessage(role=models_pb2.ROLE_USER, content=text),
        ],
        sampling=models_pb2.Sampling(max_tokens=min(SUMMARY_TOKENS, max(1, window // 4)), temperature=0),
    )
