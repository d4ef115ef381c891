"""A double of the models service that follows its contract and answers as the goal says: `weft agent tests.support.scripted_models:agent`.

First a graph with a problem, then a sound one; "babble": no graph at all; "fail": an error of a backend.
"""

from __future__ import annotations

import json
from typing import Any

import grpc

from weft.agent import Agent
from weft.services.models.v1 import models_pb2, models_pb2_grpc


class ScriptedModels(models_pb2_grpc.ModelServiceServicer):
    async def ChatOnce(
        self, request: models_pb2.ChatOnceRequest, context: Any
    ) -> models_pb2.ChatOnceResponse:
        chat = request.chat
        assert json.loads(chat.response_schema_json)["$defs"]
        goal = chat.messages[1].content.splitlines()[0]
        if "fail" in goal:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the backend does not take the key")
        item = "${inputs.nothing}" if len(chat.messages) == 2 else "desk"
        step = {"method": "shop.v1.Stock/Reserve", "request": {"item": item}}
        answer = "hm" if "babble" in goal else json.dumps({"nodes": [{"name": "desk", "step": step}]})
        message = models_pb2.ChatMessage(role=models_pb2.ROLE_ASSISTANT, content=answer)
        return models_pb2.ChatOnceResponse(message=message)


agent = Agent()
agent.add_servicer(models_pb2_grpc.add_ModelServiceServicer_to_server, ScriptedModels())
