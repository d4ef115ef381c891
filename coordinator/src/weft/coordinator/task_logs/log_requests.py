"""Asks an agent for lines of its log, through its session.

    session here       LogRequest ─► agent ─► LogReply
    session elsewhere  LogPost to all coordinators ─► the one that has the session asks ─► LogPost with the answer

A question is answered within its time, or counts as not answered. Nothing of it is stored.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.sessions_by_agent import SessionsByAgent
from weft.coordinator.store.base import Store
from weft.rpc.errors import WeftError
from weft.rpc.times import seconds
from weft.v1 import logs_pb2, post_pb2

# Beside the time that the agent may wait for a line.
ANSWER_S = 3.0
# Questions under way at this coordinator, its own and those of others.
MAX_ASKED = 10_000

GONE = logs_pb2.MISSING_LOG_REASON_AGENT_GONE
OFF = logs_pb2.MISSING_LOG_REASON_OFF
NO_ANSWER = logs_pb2.MISSING_LOG_REASON_NO_ANSWER
# An answer, or why there is none.
Answer: TypeAlias = "logs_pb2.LogReply | logs_pb2.MissingLogReason"


class LogRequests:
    """Questions that are under way.

    Args:
        is_elsewhere: whether another coordinator has the session of an agent.
    """

    def __init__(self, store: Store, sessions: SessionsByAgent, is_elsewhere: Callable[[str], bool]) -> None:
        self._store = store
        self._sessions = sessions
        self._is_elsewhere = is_elsewhere
        self._name = secrets.token_hex(8)
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        # The questions that are under way at an agent.
        self._at: defaultdict[AgentSession, set[int]] = defaultdict(set)
        # Questions of other coordinators.
        self._for_others: set[asyncio.Task[None]] = set()

    async def ask(self, agent_id: str, request: logs_pb2.LogRequest) -> Answer:
        """Ask an agent, wherever its session is. `request_id` is set here."""
        session = self._sessions.get(agent_id)
        if session is not None and session.open:
            return await self._ask_here(session, request)
        if not self._store.shared or not self._is_elsewhere(agent_id):
            return GONE
        asked = logs_pb2.LogPost(asker=self._name, agent_id=agent_id, request=request)
        asked.request.request_id = next(self._ids)

        async def post() -> None:
            await self._store.post(post_pb2.CoordinatorPost(log=asked).SerializeToString())

        # The other coordinator has a limit of its own.
        return await self._answered(asked.request.request_id, post, seconds(request.wait) + 2 * ANSWER_S)

    async def _ask_here(self, session: AgentSession, request: logs_pb2.LogRequest) -> Answer:
        if not session.hello.keeps_logs:
            return OFF
        own = logs_pb2.LogRequest()
        own.CopyFrom(request)
        own.request_id = next(self._ids)
        self._at[session].add(own.request_id)

        async def send() -> None:
            session.requests.ask_for_log(own)

        try:
            return await self._answered(own.request_id, send, seconds(request.wait) + ANSWER_S)
        finally:
            self._at[session].discard(own.request_id)
            if not self._at[session]:
                del self._at[session]

    async def _answered(
        self, request_id: int, send: Callable[[], Awaitable[None]], timeout_s: float
    ) -> Answer:
        """Send a question, and wait for its answer."""
        if len(self._asked) >= MAX_ASKED:
            return NO_ANSWER
        # Before it is sent: the answer may be here sooner than the store has said that it has the question.
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await send()
                return await answer
        except (TimeoutError, WeftError):
            return NO_ANSWER
        finally:
            del self._asked[request_id]

    def answered(self, reply: logs_pb2.LogReply) -> None:
        """An agent has answered on its session. Answers that come too late are dropped."""
        self._settle(reply.request_id, reply)

    def session_ended(self, session: AgentSession) -> None:
        """An agent's stream is over: it does not answer any more."""
        for request_id in self._at.get(session, ()):
            self._settle(request_id, GONE)

    def _settle(self, request_id: int, answer: Answer) -> None:
        asked = self._asked.get(request_id)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    # -- other coordinators ---------------------------------------------------------------------------------------

    def posted(self, post: logs_pb2.LogPost) -> None:
        """Another coordinator asks for an agent's lines, or answers a question of this one."""
        if post.HasField("request"):
            session = self._sessions.get(post.agent_id)
            if post.asker != self._name and session is not None and session.open:
                self._ask_for(post, session)
        elif post.asker == self._name:
            self._settle(post.reply.request_id, post.missing or post.reply)

    def _ask_for(self, post: logs_pb2.LogPost, session: AgentSession) -> None:
        if len(self._for_others) >= MAX_ASKED:
            return
        task = asyncio.get_running_loop().create_task(self._answer_other(post, session))
        self._for_others.add(task)
        task.add_done_callback(self._for_others.discard)

    async def _answer_other(self, post: logs_pb2.LogPost, session: AgentSession) -> None:
        answer = await self._ask_here(session, post.request)
        told = logs_pb2.LogPost(asker=post.asker, agent_id=post.agent_id)
        if isinstance(answer, logs_pb2.LogReply):
            told.reply.CopyFrom(answer)
        else:
            told.missing = answer
        told.reply.request_id = post.request.request_id
        try:
            await self._store.post(post_pb2.CoordinatorPost(log=told).SerializeToString())
        except WeftError:
            # The other one has a limit of its own.
            return

    async def stop(self) -> None:
        """Give up the questions of other coordinators."""
        for task in self._for_others:
            task.cancel()
        await asyncio.gather(*self._for_others, return_exceptions=True)
