"""Calls of tools in a stream of OpenAI's API come in pieces: they are told whole, at the end, or the answer is a typed error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.asking_models import Asking
from tests.support.ill_models import IllServer
from weft.services.models.backends import answer_parts
from weft.services.models.model_errors import ModelError
from weft.services.models.v1 import models_pb2

Event = dict[str, Any]


def part(**fields: Any) -> Event:
    """A piece of a call; `name` and `arguments` are those of its function."""
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return fields | ({"function": function} if function else {})


def calls(*parts: Any, content: str | None = None) -> Event:
    return {"choices": [{"index": 0, "delta": {"tool_calls": list(parts), "content": content}}]}


def end(reason: str = "tool_calls") -> Event:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


class Scripted:
    """A server that answers by a script, asked by the service. One for many scripts: its client costs some tenths of a second."""

    def __init__(self, server: IllServer) -> None:
        self._server = server
        self._asking = Asking(server, ["scripted"])

    async def answer(self, *events: object) -> list[models_pb2.ChatResponse]:
        self._server.script = list(events)
        return await self._asking.stream("ill/scripted")

    async def close(self) -> None:
        for backend in self._asking.backends.values():
            await backend.close()


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    async with IllServer("openai") as server:
        made = Scripted(server)
        yield made
        await made.close()


FIRST, SECOND = ("a", "weather", '{"city": "Paris"}'), ("b", "time", "{}")
WHOLE: dict[str, tuple[list[Event], list[tuple[str, str, str]]]] = {
    "arguments in pieces": (
        [
            calls(part(index=0, id="a", name="weather", arguments="")),
            *(calls(part(index=0, arguments=piece)) for piece in ('{"ci', 'ty": "P', "ari", 's"}')),
            end(),
        ],
        [FIRST],
    ),
    "two calls at once, by turns": (
        [
            calls(part(index=0, id="a", name="weather", arguments="{")),
            calls(part(index=1, id="b", name="time", arguments="{")),
            calls(part(index=0, arguments='"city": '), part(index=1, arguments="}")),
            calls(part(index=0, arguments='"Paris"}')),
            end(),
        ],
        [FIRST, SECOND],
    ),
    "the second one first": (
        [
            calls(part(index=1, id="b", name="time", arguments="{}")),
            calls(part(index=0, id="a", name="weather", arguments='{"city": "Paris"}')),
            end(),
        ],
        [FIRST, SECOND],
    ),
    "whole calls without a number": (
        [
            calls(
                part(id="a", name="weather", arguments='{"city": "Paris"}'),
                part(id="b", name="time", arguments="{}"),
            ),
            end(),
        ],
        [FIRST, SECOND],
    ),
    "a server that says stop": (
        [calls(part(index=0, id="a", name="weather", arguments='{"city": "Paris"}')), end("stop")],
        [FIRST],
    ),
    "nothing in between": (
        [
            calls(part(index=0, id="a", name="weather", arguments='{"city": ')),
            calls(),
            {"choices": []},
            {"choices": [{"index": 0, "delta": {"tool_calls": None}}]},
            calls(part(index=0), part(index=0, arguments='"Paris"}')),
            end(),
        ],
        [FIRST],
    ),
    # Whether arguments are JSON, and fit the tool, is known by the caller: a model may write anything.
    "arguments that are no JSON": (
        [calls(part(index=0, id="a", name="weather", arguments="{{")), end()],
        [("a", "weather", "{{")],
    ),
    "halves of characters": (
        [calls(part(index=0, id="a", name="weather", arguments="\ud800")), end()],
        [("a", "weather", "?")],
    ),
}


async def test_calls_are_told_whole_at_the_end(scripted: Scripted) -> None:
    for name, (events, expected) in WHOLE.items():
        responses = await scripted.answer(*events)
        told = [(call.id, call.name, call.arguments_json) for each in responses for call in each.tool_calls]
        assert told == expected, name
        assert len(responses[-1].tool_calls) == len(expected), name
        assert responses[-1].finish_reason == models_pb2.FINISH_REASON_TOOL_CALLS, name


async def test_text_comes_beside_calls(scripted: Scripted) -> None:
    call = part(index=0, id="b", name="time", arguments="{}")
    responses = await scripted.answer(calls(content="I look "), calls(call, content="it up."), end())
    assert "".join(each.content for each in responses) == "I look it up."
    assert [each.name for each in responses[-1].tool_calls] == ["time"]


GARBAGE: dict[str, list[Event]] = {
    "a call without a name": [calls(part(index=0, id="a", arguments="{}")), end()],
    "calls that are no list": [{"choices": [{"index": 0, "delta": {"tool_calls": {"a": 1}}}]}, end()],
    "calls that are text": [calls("weather"), end()],
    "a name that is none": [calls(part(index=0, name={"a": 1}, arguments="{}")), end()],
    "arguments that are an object": [
        calls(part(index=0, name="weather", arguments={"city": "Paris"})),
        end(),
    ],
    "an id that is a number": [calls(part(index=0, id=7, name="weather", arguments="{}")), end()],
    "more calls than an answer can have": [
        *(calls(part(index=number, name="weather", arguments="{}")) for number in range(20)),
        end(),
    ],
    "longer arguments than an answer can have": [
        *(calls(part(index=0, name="weather", arguments="x" * 600)) for _ in range(2)),
        end(),
    ],
}


async def test_garbage_is_a_typed_error(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_parts, "_MAX_CALLS", 16)
    monkeypatch.setattr(answer_parts, "_MAX_CALL_CHARS", 1000)
    for name, events in GARBAGE.items():
        with pytest.raises(ModelError) as failed:
            await scripted.answer(*events)
        assert failed.value.reason == "BACKEND_GARBAGE", name
    with pytest.raises(ModelError) as failed:
        await scripted.answer(calls(part(index=0, id="a", name="weather", arguments='{"ci')))
    assert failed.value.reason == "BACKEND_UNAVAILABLE", "it breaks off"
