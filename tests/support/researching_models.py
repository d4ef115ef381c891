"""A double of the models service that follows its contract and acts as the question says, beside a tool of the mesh: `weft agent tests.support.researching_models:agent`.

"heavy": searches, reads, and cites one place rightly, one at wrong lines, and one that does not exist. "stock": calls the tool of the mesh, and cites it. "plain": answers in
text. "circle": searches without end. "invent": cites what does not exist. "again": says how many turns it was told. Others: an error of a backend.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc

from weft.agent import Agent
from weft.services.models.v1 import models_pb2, models_pb2_grpc

TOOL = "shop_v1_Stock_Count"
GOOD = {"source": "widgets.md", "first_line": 3, "last_line": 3, "quote": "A widget weighs 42 kilograms"}
MOVED = {"source": "sub/gears.txt", "first_line": 1, "last_line": 1, "quote": "Gears are made of brass."}
NONE = {"source": "widgets.md", "first_line": 1, "last_line": 2, "quote": "Widgets are made of cheese"}


def called(name: str, **arguments: Any) -> models_pb2.ChatMessage:
    call = models_pb2.ToolCall(id=f"c-{name}", name=name, arguments_json=json.dumps(arguments))
    return models_pb2.ChatMessage(role=models_pb2.ROLE_ASSISTANT, tool_calls=[call])


def text(content: str) -> models_pb2.ChatMessage:
    return models_pb2.ChatMessage(role=models_pb2.ROLE_ASSISTANT, content=content)


def heavy(messages: Sequence[models_pb2.ChatMessage], answers: int) -> models_pb2.ChatMessage:
    if answers == 0:
        return called("search", query="gears brass")
    if answers == 1:
        assert "sub/gears.txt\n" in messages[-1].content
        return called("read", path="widgets.md", first_line=1, last_line=4)
    if answers == 2:
        assert "3: A widget weighs 42 kilograms." in messages[-1].content
    else:
        assert "1 of the citations do not exist" in messages[-1].content
    said = "It weighs 42 kg [1]. It is of cheese [2]. Gears are of brass [3]."
    return called("answer", text=said, citations=[GOOD, NONE, MOVED])


def stock(messages: Sequence[models_pb2.ChatMessage], answers: int) -> models_pb2.ChatMessage:
    if answers == 0:
        return called(TOOL, item="desk")
    assert "shop.v1.Stock/Count#1\n" in messages[-1].content, messages[-1].content
    cited = {
        "source": "shop.v1.Stock/Count#1",
        "first_line": 2,
        "last_line": 2,
        "quote": '"there": 7',
    }
    return called("answer", text="There are 7 desks [1].", citations=[cited])


class ResearchingModels(models_pb2_grpc.ModelServiceServicer):
    async def ChatOnce(
        self, request: models_pb2.ChatOnceRequest, context: Any
    ) -> models_pb2.ChatOnceResponse:
        chat = request.chat
        users = [each for each in chat.messages if each.role == models_pb2.ROLE_USER]
        question = next(each.content for each in reversed(users) if "A first search" in each.content)
        after = list(chat.messages)[[each.content for each in chat.messages].index(question) + 1 :]
        answers = sum(each.role == models_pb2.ROLE_ASSISTANT for each in after)
        message = await self._message(question.splitlines()[0], list(chat.messages), answers, users, context)
        return models_pb2.ChatOnceResponse(
            message=message,
            source={"backend": "double", "model": chat.model or "double"},
            usage={"prompt_tokens": 10, "completion_tokens": 5},
        )

    async def _message(
        self, question: str, messages: list[Any], answers: int, users: list[Any], context: Any
    ) -> models_pb2.ChatMessage:
        if "heavy" in question:
            return heavy(messages, answers)
        if "stock" in question:
            return stock(messages, answers)
        if "plain" in question:
            return text("It weighs 42 kg [widgets.md:3], and not 7 [other.md:1-2].")
        if "circle" in question:
            return called("search", query="widget")
        if "invent" in question:
            return called("answer", text="Cheese [1].", citations=[NONE])
        if "again" in question:
            return called("answer", text=f"{len(users)} turns [1]", citations=[GOOD])
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the backend does not take the key")
        raise AssertionError


agent = Agent()
agent.add_servicer(models_pb2_grpc.add_ModelServiceServicer_to_server, ResearchingModels())


@agent.method("shop.v1.Stock/Count")
async def count(request: dict[str, Any]) -> dict[str, Any]:
    return {"there": 7 if request["item"] == "desk" else 0}
