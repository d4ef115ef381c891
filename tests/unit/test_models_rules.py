"""The rules of the models service that need no server: breakers, windows, labels, prices, settings, headers, rules of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from weft.services.models.answer_usage import Price, Prices, usage_of
from weft.services.models.backends.backend import Used
from weft.services.models.backends.retry_after import retry_after_s
from weft.services.models.backends.rules_backend import RulesBackend, read_rules
from weft.services.models.backends.vectors import checked_vector
from weft.services.models.breaker import Breaker
from weft.services.models.context_fitting import (
    droppable_turns,
    room_tokens,
    summary_request,
    surely_fits,
    without,
)
from weft.services.models.model_errors import ModelError, unavailable
from weft.services.models.model_labels import MAX_MODELS, labels_of
from weft.services.models.settings import ModelsSettings
from weft.services.models.v1 import models_pb2

SYSTEM, USER, ASSISTANT, TOOL = (
    models_pb2.ROLE_SYSTEM,
    models_pb2.ROLE_USER,
    models_pb2.ROLE_ASSISTANT,
    models_pb2.ROLE_TOOL,
)


def test_a_breaker_opens_tries_and_closes() -> None:
    breaker = Breaker(2, 10)
    assert breaker.wait_s(0) == 0
    breaker.failed(0)
    assert breaker.wait_s(0) == 0
    breaker.failed(1)
    assert breaker.wait_s(2) == 9
    assert breaker.is_open(2)
    # One tries; others wait for it, and not for ever.
    assert breaker.wait_s(11) == 0
    assert breaker.wait_s(12) == 9
    assert breaker.wait_s(21) == 0
    breaker.failed(22)
    assert breaker.wait_s(23) == 9
    assert breaker.wait_s(32) == 0
    breaker.left()
    assert breaker.wait_s(32) == 0
    breaker.succeeded()
    assert [breaker.wait_s(33), breaker.wait_s(33)] == [0, 0]
    breaker.failed(40, 1e9)
    assert breaker.wait_s(40) == 100


def conversation(*roles: models_pb2.Role) -> models_pb2.ChatRequest:
    return models_pb2.ChatRequest(
        messages=[models_pb2.ChatMessage(role=role, content=f"m{n}") for n, role in enumerate(roles)]
    )


@pytest.mark.parametrize(
    ("roles", "turns"),
    [
        ([USER], []),
        ([SYSTEM, USER], []),
        ([USER, ASSISTANT, USER], [[0], [1]]),
        ([SYSTEM, USER, ASSISTANT, TOOL, TOOL, ASSISTANT, USER], [[1], [2, 3, 4], [5]]),
        ([USER, ASSISTANT, TOOL], [[0]]),
        ([TOOL, USER], [[0]]),
        ([SYSTEM], []),
    ],
)
def test_calls_go_with_their_results_and_the_last_turn_stays(
    roles: list[Any], turns: list[list[int]]
) -> None:
    assert droppable_turns(conversation(*roles).messages) == turns


def test_a_summary_stands_in_the_place_of_what_is_left_out() -> None:
    request = conversation(SYSTEM, USER, ASSISTANT, USER)
    cut = without(request, [1, 2], "short")
    assert [each.content for each in cut.messages] == ["m0", "What was said before, in short: short", "m3"]
    assert [each.content for each in without(request, [1]).messages] == ["m0", "m2", "m3"]
    assert len(request.messages) == 4
    request.messages[1].content = "ä" * 10_000
    asked = summary_request(request, [1, 2], 1000)
    assert surely_fits(asked, room_tokens(1000, asked.sampling))


def test_room_is_left_for_the_answer() -> None:
    assert room_tokens(1000, models_pb2.Sampling(max_tokens=100)) == 900
    assert room_tokens(1000, models_pb2.Sampling()) == 750
    assert room_tokens(100_000, models_pb2.Sampling()) == 98_976
    assert room_tokens(10, models_pb2.Sampling(max_tokens=100)) == 0


def test_labels_say_the_best_state_and_are_bounded() -> None:
    loaded = models_pb2.Model(name="a", state=models_pb2.MODEL_STATE_LOADED)
    stored = [models_pb2.Model(name=f"s{n:03}", state=models_pb2.MODEL_STATE_STORED) for n in range(100)]
    wrong = [models_pb2.Model(name="x" * 200), models_pb2.Model(name="a,b"), models_pb2.Model(name="a=b")]
    listed = {
        "one": [*stored, *wrong],
        "two": [loaded, models_pb2.Model(name="s000")],
        "three": unavailable("three", "x"),
    }
    labels = labels_of(listed)
    assert len(labels) == MAX_MODELS
    assert (labels["model.a"], labels["model.s000"], labels["model.s001"]) == ("loaded", "ready", "stored")


def test_prices_are_of_a_million_tokens() -> None:
    prices = Prices({"m": 2.0, "b/m": 3.0}, {"m": 10.0})
    assert prices.of("b", "m") == Price(3.0, 10.0)
    assert prices.of("c", "m") == Price(2.0, 10.0)
    assert usage_of(Used(1000, 100), prices.of("b", "m")).cost == pytest.approx(0.004)
    assert prices.of("c", "x") == Price()


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Foo 99999999999 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


@pytest.mark.parametrize("values", [[], None, "ab", [1, "x"], [float("nan")], [1e300], [[1.0]]])
def test_vectors_are_numbers(values: Any) -> None:
    with pytest.raises(ModelError):
        checked_vector("b", values)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"backends": "x"}, "NAME=VALUE"),
        ({"backends": "X=openai+http://h"}, "is no name"),
        ({"backends": "x=http://h"}, "must be KIND"),
        ({"backends": "x=openai+http://sk-secret@h/v1"}, "must be KIND"),
        ({"backends": "{"}, "no JSON object"),
        ({"models": "other/m"}, "must be BACKEND/MODEL"),
        ({"prompt_prices": "m=-1"}, "0 or above"),
        ({"prompt_prices": "m=x"}, "number"),
    ],
)
def test_wrong_settings_are_refused_without_keys(given: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        ModelsSettings(**given)  # type: ignore[arg-type]
    assert says in str(wrong.value.errors(include_input=False))
    assert "sk-secret" not in str(wrong.value.errors(include_input=False)[0]["msg"])


def test_keys_are_read_and_not_told(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nhosted=sk-1\n\n")
    backends = "local=openai+http://h/v1,hosted=openai+https://h/v1/"
    settings = ModelsSettings(backends=backends, keys_file=file, keys="local=k2")  # type: ignore[arg-type]
    assert {name: key.reveal() for name, key in settings.read_keys().items()} == {
        "hosted": "sk-1",
        "local": "k2",
    }
    assert settings.address("hosted") == ("openai", "https://h/v1")
    assert "k2" not in repr(settings)
    for text in ("other=sk-1", "sk-1", "hosted=", "hosted=a\x01b"):
        file.write_text(text)
        with pytest.raises(ValueError) as wrong:
            settings.read_keys()
        assert "sk-1" not in str(wrong.value)


async def test_rules_answer_last(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[[rules]]\nmatch = "(?i)hello"\nanswer = "Good morning."\n')
    backend = RulesBackend("rules", read_rules(file))
    request = models_pb2.ChatRequest(messages=[models_pb2.ChatMessage(role=USER, content="Hello!")])
    assert [piece.content async for piece in backend.chat("rules", request)] == ["Good morning."]
    request.messages[0].content = "What?"
    with pytest.raises(ModelError, match="no rule of rules"):
        _ = [piece async for piece in backend.chat("rules", request)]
    for text in ("", "x", "rules = 1", '[[rules]]\nmatch = "("\nanswer = "a"', '[[rules]]\nmatch = "a"'):
        file.write_text(text)
        with pytest.raises(ValueError, match="rules"):
            read_rules(file)
