"""Servers of models that misbehave in every way: each call ends in time, with a typed error or the answer of a fallback, and nothing stays open."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from google.rpc import error_details_pb2

from tests.support.asking_models import SECRET, Asking
from tests.support.ill_models import IllServer
from weft.services.models.backends import bounded_body
from weft.services.models.model_errors import ModelError
from weft.services.models.v1 import models_pb2

SILENCE_S = 0.2


@pytest.fixture(params=["openai", "ollama"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[IllServer]:
    async with IllServer(request.param) as made:
        yield made


FAULTS = {
    "silent": "BACKEND_SILENT",
    "stalls": "BACKEND_SILENT",
    "dies": "BACKEND_UNAVAILABLE",
    "ends-early": "BACKEND_UNAVAILABLE",
    "fault": "BACKEND_UNAVAILABLE",
    "not-json": "BACKEND_GARBAGE",
    "strange": "BACKEND_GARBAGE",
    "not-http": "BACKEND_UNAVAILABLE",
    "endless": "BACKEND_GARBAGE",
    "busy": "BACKEND_OVERLOADED",
    "elsewhere": "",
    "400": "REQUEST_REFUSED",
    "401": "BACKEND_DENIED",
    "404": "MODEL_UNKNOWN",
    "500": "BACKEND_UNAVAILABLE",
    "503": "BACKEND_OVERLOADED",
}
SILENT = {"silent", "stalls"}
# They have sent a piece before.
BEGUN = {"stalls", "dies", "ends-early", "fault"}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_a_typed_error_and_the_fallback_answers(
    server: IllServer, fault: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(bounded_body, "MAX_BODY_BYTES", 1024 * 1024)
    # Only where the silence itself is meant: an answer may take long on a busy machine.
    silence = dict.fromkeys(
        ("first_token_timeout_s", "next_token_timeout_s"), SILENCE_S if fault in SILENT else 30.0
    )
    asking = Asking(server, [fault, "well"], breaker_open_s=0.1, **silence)
    began = time.monotonic()
    with pytest.raises(ModelError) as failed:
        await asking.stream(f"ill/{fault}") if fault in BEGUN else await asking.answers.whole(
            models_pb2.ChatRequest(messages=asking.request("").messages, model=fault, no_fallback=True)
        )
    reason = FAULTS[fault]
    assert failed.value.reason == reason or not reason
    assert SECRET not in str(failed.value)
    answer = await asking.whole(fault)
    assert answer.message.content == "well"
    assert answer.source.fallback
    if fault not in BEGUN:
        assert "".join(each.content for each in await asking.stream()) == "well"
    assert time.monotonic() - began < 15
    assert SECRET not in caplog.text

    async def all_ended() -> bool:
        return sorted(server.asked) == sorted(server.ended)

    async with asyncio.timeout(30):
        while not await all_ended():
            await asyncio.sleep(0.01)
    for backend in asking.backends.values():
        await backend.close()


async def test_who_says_when_to_come_again_is_left_alone_so_long(server: IllServer) -> None:
    asking = Asking(server, ["busy"], breaker_open_s=60)
    with pytest.raises(ModelError) as busy:
        await asking.whole()
    (info,) = [
        each for each in busy.value.status().details if each.Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    ]
    told = error_details_pb2.RetryInfo()
    info.Unpack(told)
    assert told.retry_delay.seconds == 7
    with pytest.raises(ModelError) as refused:
        await asking.whole()
    assert refused.value.reason == "BACKEND_OPEN"
    assert 6 < (refused.value.retry_after_s or 0) <= 7
    assert server.asked.count("busy") == 1


async def test_a_backend_that_fails_often_is_not_asked_and_then_tried_again(server: IllServer) -> None:
    asking = Asking(server, ["500"], breaker_failures=2, breaker_open_s=0.2)
    for _ in range(2):
        with pytest.raises(ModelError, match="status 500"):
            await asking.answers.whole(
                models_pb2.ChatRequest(messages=asking.request("").messages, no_fallback=True)
            )
    with pytest.raises(ModelError) as refused:
        await asking.whole("ill/500")
    assert refused.value.reason == "BACKEND_OPEN"
    assert server.asked.count("500") == 2
    await asyncio.sleep(refused.value.retry_after_s or 0)
    # One call tries, with success.
    assert (await asking.whole("ill/well")).message.content == "well"
    assert asking.answers.breaker("ill").wait_s(time.monotonic()) == 0


async def test_a_caller_who_leaves_ends_the_request_to_the_backend(server: IllServer) -> None:
    asking = Asking(server, ["stalls"])
    async with aclosing(asking.answers.stream(asking.request(""))) as responses:
        assert (await anext(responses)).content == "beg"
    async with asyncio.timeout(2):
        while "stalls" not in server.ended:
            await asyncio.sleep(0.01)
