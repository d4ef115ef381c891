"""A double of the models service that answers questions of what would be: `weft agent tests.support.foretelling_models:agent`.

"room": names a change, and one that breaks a rule. "gone": a change of what is not there. "nonsense": no answer. "slow": takes longer than anybody waits. Others: an error of a backend.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc

from weft.agent import Agent
from weft.services.models.v1 import models_pb2, models_pb2_grpc

ADDED = {"add_work": {"cpu_cores": 1, "memory_bytes": 1 << 50}}
REPLIES = {
    "room": {"answer": "There is none.", "changes": [ADDED, {"add_work": {"cpu_cores": -1}}]},
    "gone": {"answer": "It frees much.", "changes": [{"end_process": {"process_id": 2**32 - 1}}]},
    "nonsense": {"say": "what"},
}


class ForetellingModels(models_pb2_grpc.ModelServiceServicer):
    async def ChatOnce(
        self, request: models_pb2.ChatOnceRequest, context: Any
    ) -> models_pb2.ChatOnceResponse:
        told = request.chat.messages[-1].content
        assert request.chat.messages[0].role == models_pb2.ROLE_SYSTEM
        assert json.loads(request.chat.response_schema_json)["required"] == ["answer"]
        question = told.splitlines()[0]
        if "slow" in question:
            await asyncio.sleep(60)
        for word, reply in REPLIES.items():
            if word in question:
                return models_pb2.ChatOnceResponse(
                    message={"role": models_pb2.ROLE_ASSISTANT, "content": json.dumps(reply)},
                    source={"backend": "double", "model": request.chat.model or "double"},
                )
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the backend does not take the key")
        raise AssertionError


agent = Agent()
agent.add_servicer(models_pb2_grpc.add_ModelServiceServicer_to_server, ForetellingModels())
