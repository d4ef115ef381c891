"""Questions for lines of logs to agents of other coordinators."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from weft.coordinator.store.base import Store
from weft.coordinator.task_logs.log_requests import NO_ANSWER, LogRequests
from weft.rpc import refusals
from weft.v1 import logs_pb2, post_pb2


class Posts:
    """Takes posts, as the store does. The answer to each comes before the store has said that it has the post."""

    shared = True

    def __init__(self) -> None:
        self.away = False
        self.asker: LogRequests | None = None

    async def post(self, message: bytes) -> None:
        if self.away:
            raise refusals.store_unavailable("away", retry_after_s=0.1)
        asked = post_pb2.CoordinatorPost.FromString(message).log
        told = logs_pb2.LogPost(asker=asked.asker, agent_id=asked.agent_id)
        told.reply.request_id = asked.request.request_id
        told.reply.last_sequence = 7
        assert self.asker is not None
        self.asker.posted(told)


async def test_an_answer_may_be_faster_than_the_store() -> None:
    posts = Posts()
    requests = posts.asker = LogRequests(cast("Store", posts), cast("Any", {}), lambda _: True)
    async with asyncio.timeout(1):
        reply = await requests.ask("a1", logs_pb2.LogRequest(task_id="t", attempt=1))
        assert isinstance(reply, logs_pb2.LogReply)
        assert reply.last_sequence == 7
        posts.away = True
        assert await requests.ask("a1", logs_pb2.LogRequest()) == NO_ANSWER
