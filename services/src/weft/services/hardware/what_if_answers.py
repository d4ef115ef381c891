"""Answers questions of what would be: asks a model of the mesh once, computes the changes that it names, and answers by rules where it does not."""

from __future__ import annotations

import json

import grpc
import grpc.aio

from weft.agent import current_task
from weft.client import call_options
from weft.rpc.errors import from_call
from weft.rpc.visible import one_line
from weft.services.hardware.thresholds import bounds_of
from weft.services.hardware.v1 import hardware_pb2
from weft.services.hardware.what_if import UnknownSubjectError, predict, what_if
from weft.services.hardware.what_if_words import REPLY_SCHEMA, TASK, question_of, read_reply, rule_answer
from weft.services.models.v1 import models_pb2, models_pb2_grpc

# Left of the call's own time for the answer of rules.
_MARGIN_S = 1.0
_MAX_NOTE_CHARS = 500


async def answer_what_if(
    request: hardware_pb2.AskWhatIfRequest, present: hardware_pb2.Snapshot, model_timeout_s: float
) -> hardware_pb2.AskWhatIfResponse:
    """The answer of a model, or of rules.

    Args:
        present: the machine, whose figures have been checked.
        model_timeout_s: for the model.

    Raises:
        UnknownSubjectError: a change of the request names a process, a mount or a GPU that is not there.
    """
    bounds = bounds_of(request.thresholds)
    found = what_if(present, predict(present, request.changes), bounds)
    response = hardware_pb2.AskWhatIfResponse(what_if=found)
    if request.rules_only:
        response.notes.append("No model was asked, as the request says.")
    else:
        await _ask(request, response, model_timeout_s)
    if response.changes and not request.changes:
        try:
            then = predict(present, response.changes)
            response.what_if.CopyFrom(what_if(present, then, bounds))
        except UnknownSubjectError as error:
            response.notes.append(f"The changes of the model were left out: {error}"[:_MAX_NOTE_CHARS])
            response.ClearField("changes")
    if not response.answer:
        response.source = hardware_pb2.ANSWER_SOURCE_RULES
        changed = bool(request.changes or response.changes)
        response.answer = rule_answer(response.what_if, changed=changed)
    return response


async def _ask(
    request: hardware_pb2.AskWhatIfRequest, response: hardware_pb2.AskWhatIfResponse, timeout_s: float
) -> None:
    """Ask a model, and note what it has said, or why it has not."""
    task = current_task()
    left_s = task.time_remaining()
    if left_s is not None:
        timeout_s = min(timeout_s, left_s - _MARGIN_S)
    if timeout_s <= 0:
        response.notes.append("No model was asked: the call has no time for it.")
        return
    turns = [
        models_pb2.ChatMessage(role=models_pb2.ROLE_SYSTEM, content=TASK),
        models_pb2.ChatMessage(role=models_pb2.ROLE_USER, content=question_of(request, response.what_if)),
    ]
    chat = models_pb2.ChatRequest(
        model=request.model, messages=turns, response_schema_json=json.dumps(REPLY_SCHEMA)
    )
    stub = models_pb2_grpc.ModelServiceStub(task.mesh.channel())
    try:
        answer = await stub.ChatOnce(
            models_pb2.ChatOnceRequest(chat=chat), timeout=timeout_s, metadata=call_options(no_wait=True)
        )
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            response.notes.append("No agent hosts the models service, so rules answered.")
            return
        why = one_line(from_call(error).message)
        response.notes.append(f"The model could not be asked, so rules answered: {why}"[:_MAX_NOTE_CHARS])
        return
    reply = read_reply(answer.message.content)
    response.notes.extend(reply.notes)
    if not reply.answer:
        response.notes.append("The model's reply had no answer, so rules answered.")
        return
    response.answer, response.source = reply.answer, hardware_pb2.ANSWER_SOURCE_MODEL
    response.model = answer.source.model
    if not request.changes:
        response.changes.extend(reply.changes)
