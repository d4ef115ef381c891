"""Secrets do not reach a log: by their names and in texts, in any depth, through every door, in linear time."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import secret_places
from tests.support.processes import environment
from weft.rpc.process.log_lines import LogLines
from weft.rpc.process.redaction import REDACTED, is_secret, redacted, redacted_text

SECRET = "S3cr3tHunterZwei2"


@pytest.mark.parametrize("name", secret_places.NAMES)
def test_secret_names(name: str) -> None:
    assert is_secret(name)
    assert redacted({name: 12345, "n": 1}) == {name: REDACTED, "n": 1}
    assert redacted({name: None, f"{name}2": False}) == {name: None, f"{name}2": False}


@pytest.mark.parametrize("name", secret_places.HARMLESS)
def test_names_that_look_alike(name: str) -> None:
    assert redacted({name: "value"}) == {name: "value"}


def test_counts_of_tokens_are_no_secrets() -> None:
    assert redacted({"tokens": 12, "max_tokens": 0.5}) == {"tokens": 12, "max_tokens": 0.5}
    assert redacted({"tokens": ["abc"]}) == {"tokens": REDACTED}
    assert redacted_text("used max_tokens=12, tokens: 7") == "used max_tokens=12, tokens: 7"


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/a@b?x=1 and ssh://git@host/repo",
        "agent a-1 at dns:///mesh.example.com:7700 was dropped: no echo of 3 heartbeats",
        "Basic authentication is not configured; bearer is unknown",
        "the password is wrong, and the token too",
        'File "/srv/keys/secret_store.py", line 3, in token_of',
        "unix:/run/weft/token.sock",
    ],
)  # fmt: skip
def test_texts_without_secrets_stay(text: str) -> None:
    assert redacted_text(text) == text


def test_user_and_host_stay_readable() -> None:
    assert redacted_text("redis://me:pw@h:1/0 x") == f"redis://me:{REDACTED}@h:1/0 x"
    assert redacted_text("password=abc user=me") == f"password={REDACTED} user=me"


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\"'\\"), max_size=40),
    st.sampled_from(list(secret_places.texts(SECRET))),
    st.text(st.characters(codec="utf-8", exclude_characters="\"'\\"), max_size=40),
    st.booleans(),
)
def test_a_secret_in_any_surroundings(before: str, text: str, after: str, terminal: bool) -> None:
    whole = f"{before} {text} {after}"
    line = LogLines(terminal=terminal).rendered(logging.INFO, whole, {"error": [whole]})
    assert SECRET not in line.decode()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_secret_at_any_place(terminal: bool) -> None:
    lines = LogLines(terminal=terminal)
    for fields in secret_places.fields(SECRET):
        assert SECRET not in lines.rendered(logging.INFO, "e", fields).decode(), fields


@given(st.text(), st.integers(1, 2))
def test_any_text_is_redacted_once(text: str, times: int) -> None:
    once = redacted_text(text)
    for _ in range(times):
        assert redacted_text(once) == once


@pytest.mark.parametrize(
    "part",
    ["a", "token", "token=", "a.b-", "password='", '"', "://", "://a:", "Bearer ", "eyJ", "-----BEGIN PRIVATE KEY-----", "key: '", "\\", "api_"],
)  # fmt: skip
def test_the_time_is_linear(part: str) -> None:
    """Of a text of any length only a bounded part is searched, and that in bounded time."""
    text = part * (1_000_000 // len(part))
    began = time.process_time()
    assert len(redacted_text(text)) < 1_000_000
    assert time.process_time() - began < 2.0


# Logs each secret place through each door. The doors are those by which a line leaves a process of weft.
DOORS = """
import asyncio, logging, os, sys
from weft.agent.process.failure_log import log_late, log_raised
from weft.rpc.process import logs
if {terminal}: os.isatty = lambda _: True
own = not {library}
if own: logs.configure("debug")
else: logging.basicConfig(level=logging.DEBUG)
import structlog
if not own: structlog.configure(processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
from tests.support import secret_places
SECRET = {secret!r}
weft, program, by_structlog = logs.get_logger("weft.test"), logging.getLogger("program"), structlog.get_logger("program")
def raising(text, call):
    try:
        try: raise KeyError(text)
        except KeyError as error: raise RuntimeError("outer " + text) from error
    except RuntimeError as error: call(error)
RESERVED = {{"name", "msg", "args"}}
for fields in secret_places.fields(SECRET):
    weft.warning("weft", **fields)
    logs.tell_loop_failure(None, {{"message": "loop", **fields}})
    if own:
        by_structlog.info("structlog", **fields)
        by_structlog.bind(**fields).info("bound")
        with structlog.contextvars.bound_contextvars(**fields): program.info("contextvars")
        program.info("extra", extra=fields)
        program.info("args %s", fields)
for text in secret_places.texts(SECRET):
    weft.info(text)
    logs.tell_loop_failure(None, {{"message": text, "exception": OSError("x")}})
    if own:
        raising(text, lambda error: log_raised("raised", error))
        raising(text, lambda error: log_late("late", error))
        raising(text, lambda error: weft.exception("exception"))
        raising(text, lambda error: by_structlog.exception("exception"))
        raising(text, lambda error: program.exception("exception"))
        program.info("%s", text); by_structlog.info(text); logging.getLogger("grpc.x").error(text)
        program.error("with the stack", stack_info=True)
print("done")
"""


@pytest.mark.parametrize(
    ("terminal", "library"),
    [(False, False), (True, False), (False, True)],
    ids=["json", "terminal", "library"],
)
def test_no_door_lets_a_secret_out(terminal: bool, library: bool) -> None:
    program = DOORS.format(terminal=terminal, library=library, secret=SECRET)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]
    # With an exception, the application's own set-up shows the text of the exception.
    leaks = [line for line in done.stderr.splitlines() if SECRET in line]
    assert not leaks, (len(leaks), leaks[:5])
    assert done.stderr.count(REDACTED) > 300
    if not terminal and not library:
        assert not [line for line in done.stderr.splitlines() if "not_shown" in json.loads(line)]
