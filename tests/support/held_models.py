"""A double of the models service whose answers a test releases: `weft agent tests.support.held_models:agent`.

WEFT_TEST_MODELS names a folder: each question is a line "ROUND PROCESS" of its file `asked`, and is answered when the file goROUND is there. Round 0 searches, 1 reads, 2 answers.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from tests.support.researching_models import GOOD, called
from weft.agent import Agent
from weft.services.models.v1 import models_pb2, models_pb2_grpc

ROUNDS = (
    called("search", query="widget"),
    called("read", path="widgets.md", first_line=1, last_line=4),
    called("answer", text="It weighs 42 kg [1].", citations=[GOOD]),
)


class HeldModels(models_pb2_grpc.ModelServiceServicer):
    async def ChatOnce(
        self, request: models_pb2.ChatOnceRequest, context: Any
    ) -> models_pb2.ChatOnceResponse:
        folder = Path(os.environ["WEFT_TEST_MODELS"])
        number = sum(each.role == models_pb2.ROLE_ASSISTANT for each in request.chat.messages)
        with (folder / "asked").open("ab", buffering=0) as file:
            file.write(f"{number} {os.getpid()}\n".encode())
        while not (folder / f"go{number}").exists():
            await asyncio.sleep(0.02)
        return models_pb2.ChatOnceResponse(
            message=ROUNDS[number], source={"backend": "double", "model": "double"}
        )


agent = Agent()
agent.add_servicer(models_pb2_grpc.add_ModelServiceServicer_to_server, HeldModels())
