"""The servicer of `ResearchService`.

question ─► first search of the corpus ─► a model with tools, in bounds ─► its citations checked ─► answer ─► the session, stored with the call's end
                                     └ no model, or no answer of it ─► rules ─► answer ┘
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from weft.agent import current_task
from weft.client import Method
from weft.rpc.errors import STATUS_DETAILS_KEY, NotFound, TooLarge, WeftError
from weft.services.models.v1 import models_pb2
from weft.services.research.corpus_process import CorpusFault
from weft.services.research.corpus_reader import CorpusReader
from weft.services.research.evidence import Evidence
from weft.services.research.method_tools import MethodTools
from weft.services.research.model_answer import ModelAnswer, QuestionBounds
from weft.services.research.plug_ins import load_tools
from weft.services.research.research_errors import ResearchError
from weft.services.research.rule_answer import rule_answer
from weft.services.research.session_turns import LOCK, drop_oldest, with_turn
from weft.services.research.settings import ResearchSettings
from weft.services.research.toolbox import Toolbox, detail_of
from weft.services.research.v1 import research_pb2 as pb
from weft.services.research.v1 import research_pb2_grpc

if TYPE_CHECKING:
    from weft.agent.handlers.keyed_state import HeldState
    from weft.client import Mesh

Context = grpc.aio.ServicerContext[Any, Any]
MAX_LISTED = 1000
_CHAT = Method.of(
    "weft.services.models.v1.ModelService/ChatOnce", models_pb2.ChatOnceRequest, models_pb2.ChatOnceResponse
)
_CANCEL_S = 2.0


class ResearchService(research_pb2_grpc.ResearchServiceServicer):
    """Answers questions over the corpus of its agent. Sessions are the states of locks: it keeps nothing of them.

    Raises:
        HostingError: a tool that the settings name is not there.
    """

    def __init__(self, settings: ResearchSettings) -> None:
        self._settings = settings
        self._corpus = CorpusReader(settings)
        self._plug_ins = load_tools(settings.plug_ins)

    async def close(self) -> None:
        """End the process of the corpus."""
        await self._corpus.close()

    async def Ask(self, request: pb.AskRequest, context: Context) -> AsyncIterator[pb.AskResponse]:
        try:
            async for event in self._events(request):
                if isinstance(event, pb.Progress):
                    yield pb.AskResponse(progress=event)
                else:
                    yield pb.AskResponse(answer=event)
        except ResearchError as error:
            await _refuse(context, error)

    async def AskOnce(self, request: pb.AskOnceRequest, context: Context) -> pb.AskOnceResponse:
        response = pb.AskOnceResponse()
        try:
            async for event in self._events(request.ask):
                if isinstance(event, pb.Answer):
                    response.answer.CopyFrom(event)
        except ResearchError as error:
            await _refuse(context, error)
        return response

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: Context
    ) -> pb.ListSessionsResponse:
        response = pb.ListSessionsResponse()
        async for state in current_task().mesh.keyed_states.list(f"{LOCK}:{request.prefix}"):
            if len(response.sessions) >= MAX_LISTED:
                response.more = True
                break
            entry = response.sessions.add(session_id=state.name.removeprefix(f"{LOCK}:"))
            entry.update_time.FromDatetime(state.updated_at)
            if state.expires_at is not None:
                entry.expire_time.FromDatetime(state.expires_at)
        return response

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.GetSessionResponse:
        try:
            state = await current_task().mesh.keyed_states.get(f"{LOCK}:{request.session_id}")
        except NotFound:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no session {request.session_id}")
        return pb.GetSessionResponse(session=state.message(pb.Session))

    async def DeleteSession(
        self, request: pb.DeleteSessionRequest, context: Context
    ) -> pb.DeleteSessionResponse:
        try:
            _held_state().delete()
        except ResearchError as error:
            await _refuse(context, error)
        return pb.DeleteSessionResponse()

    # -- one question -------------------------------------------------------------------------------------------------

    async def _events(self, request: pb.AskRequest) -> AsyncIterator[pb.Progress | pb.Answer]:
        """What is done for a question, and at last its answer.

        Raises:
            ResearchError: it cannot be answered.
        """
        state = None if request.forget else _held_state()
        session = pb.Session() if state is None else state.message(pb.Session)
        evidence, of_mesh = Evidence(), MethodTools(current_task().mesh)
        wants_model = not request.rules_only
        yield pb.Progress(activity=pb.ACTIVITY_SEARCHING, detail=detail_of(request.question))
        if wants_model:
            await of_mesh.find(self._settings.tools)
        toolbox = Toolbox(self._corpus, evidence, of_mesh, self._plug_ins)
        try:
            passages, told = await toolbox.search(request.question)
        except CorpusFault as error:
            raise ResearchError("NO_CORPUS", f"{self._settings.folder}: {error}") from error
        bounds = QuestionBounds(
            self._settings.max_rounds, self._settings.max_tokens, self._settings.max_seconds
        )
        by_model = ModelAnswer(
            _asker(current_task().mesh, current_task().id), toolbox, evidence, self._corpus, bounds
        )
        by_model.notes += of_mesh.notes
        if wants_model:
            model = request.model or self._settings.model
            try:
                async for step in by_model.steps(request.question, told, model, session.turns):
                    yield step
            except CorpusFault as error:
                raise ResearchError(
                    "CORPUS_FAILED", f"the corpus cannot be read any more: {error}"
                ) from error
            except WeftError as error:
                why = error.message
                by_model.notes.append(f"The model could not be asked, so rules answered: {why}"[:1000])
        else:
            by_model.notes.append("No model was asked, as the request says.")
        answer = by_model.answer
        if answer is None:
            yield pb.Progress(activity=pb.ACTIVITY_ANSWERING, detail="rules")
            answer = rule_answer(request.question, passages)
            answer.notes.extend(by_model.notes)
        answer.rounds, answer.tokens = by_model.rounds, by_model.tokens
        answer.tool_calls = by_model.tool_calls
        if state is not None:
            self._keep(state, session, request.question, answer)
        yield answer

    def _keep(self, state: HeldState, session: pb.Session, question: str, answer: pb.Answer) -> None:
        """Keep an answer in its session: it is stored with the call's end."""
        made = with_turn(session, question, answer, time.time(), self._settings.session_turns)
        while True:
            try:
                return state.set(made, ttl_s=self._settings.session_ttl_s)
            except TooLarge as error:
                # The mesh's own bound of states may be lower.
                if len(made.turns) == 1:
                    answer.notes.append(f"The session does not keep this answer: {error.message}")
                    return None
                drop_oldest(made)


def _held_state() -> HeldState:
    try:
        return current_task().state
    except LookupError as error:
        raise ResearchError(
            "NOT_DURABLE", "a direct call has no session: call it through a coordinator, or ask with forget"
        ) from error


def _asker(mesh: Mesh, question_id: str) -> Any:
    """Asks a model by a task of its own, under an id of the question and of what is asked: a coordinator that dies meanwhile does not lose it, and another
    attempt at the question that comes to the same gets the same answer.

    Args:
        question_id: of the question's task; empty: it has none.
    """

    async def answer(chat: models_pb2.ChatRequest, timeout_s: float, request_id: str | None) -> Any:
        handle = await mesh.tasks.submit(
            _CHAT,
            models_pb2.ChatOnceRequest(chat=chat),
            request_id=request_id,
            timeout_s=timeout_s,
            no_wait=True,
            schedule_to_close_s=timeout_s,
        )
        try:
            return await handle.result(timeout_s=timeout_s)
        except asyncio.CancelledError:
            # Nobody waits for the model any more.
            with contextlib.suppress(WeftError, TimeoutError):
                async with asyncio.timeout(_CANCEL_S):
                    await handle.cancel()
            raise
        except WeftError:
            if request_id is None or not handle.existed:
                raise
            # An earlier attempt has ended with it, or was cancelled: that is no answer for this one.
            return await answer(chat, timeout_s, None)

    async def ask(chat: models_pb2.ChatRequest, timeout_s: float) -> models_pb2.ChatOnceResponse:
        asked = hashlib.sha256(chat.SerializeToString(deterministic=True)).hexdigest()[:32]
        reply: models_pb2.ChatOnceResponse = await answer(
            chat, max(timeout_s, 0.1), f"research:{question_id}:{asked}" if question_id else None
        )
        return reply

    return ask


async def _refuse(context: Context, error: ResearchError) -> NoReturn:
    status = error.status().SerializeToString()
    await context.abort(error.code, error.message, trailing_metadata=((STATUS_DETAILS_KEY, status),))
    raise AssertionError("abort raises")
