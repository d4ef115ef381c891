"""Loggers never raise into their callers, with any set-up of logging and any logged values."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.processes import environment
from weft.rpc.process import logs
from weft.rpc.process.log_lines import LogLines

LEVELS = ("debug", "info", "warning", "error", "exception")
RAISED = [
    OSError(28, "No space left on device"),
    BrokenPipeError(),
    ValueError("I/O operation on closed file"),
    UnicodeEncodeError("ascii", "ä", 0, 1, "ordinal not in range"),
    RecursionError(),
    MemoryError(),
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    BaseExceptionGroup("several", [KeyboardInterrupt()]),
]


class _Handler(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        raise self.error


@pytest.fixture
def own_logging() -> Iterator[None]:
    """A test may set up structlog and logging; what it did is undone."""
    root = logging.getLogger()
    handlers, level, raises = list(root.handlers), root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raises
    root.setLevel(level)
    logging.disable(logging.NOTSET)
    structlog.reset_defaults()


def _log_everything(**fields: Any) -> None:
    logger = logs.get_logger("weft.test")
    for level in LEVELS:
        getattr(logger, level)("something happened", **fields)
    try:
        raise RuntimeError("handled")
    except RuntimeError:
        logger.exception("an exception is handled", **fields)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.usefixtures("own_logging")
def test_an_applications_handlers_and_processors_may_raise(error: BaseException) -> None:
    handler = _Handler(error)
    logging.basicConfig(level=logging.DEBUG, handlers=[handler], force=True)
    _log_everything()
    assert handler.calls == len(LEVELS) + 1

    seen = []

    def processor(*event: Any) -> Any:
        seen.append(event)
        raise error

    structlog.configure(processors=[processor])
    _log_everything()
    assert len(seen) == len(LEVELS) + 1


@pytest.mark.usefixtures("own_logging")
def test_without_a_set_up_of_structlog_events_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logs.get_logger("weft.test").info("something happened", task_id="t1", count=3)
    assert caplog.record_tuples == [("weft.test", logging.INFO, "something happened task_id='t1' count=3")]
    logging.disable(logging.CRITICAL)
    _log_everything()
    assert len(caplog.records) == 1


class _Rude:
    """Raises whenever it is asked for a text."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def _raise(self, *_args: Any) -> Any:
        raise self.error

    __repr__ = __str__ = __format__ = __hash__ = __eq__ = __bool__ = _raise  # type: ignore[assignment]


def _mappings() -> st.SearchStrategy[dict[str, Any]]:
    values = st.recursive(
        st.one_of(
            st.none(),
            st.floats(),
            st.binary(),
            st.text(st.characters()),
            st.integers(),
            st.sampled_from(RAISED),
            st.sampled_from(RAISED).map(_Rude),
            st.just(object()),
            st.just({1: {2: 3}, (1, 2): 4}),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    names = st.sampled_from(["event", "level", "timestamp", "exc_info", "stack_info", "name", "msg", "args"])
    return st.dictionaries(names | st.text(max_size=10), values, max_size=4)


# Under load, the first example alone may take a second.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_mappings(), st.text(st.characters()), st.booleans())
def test_any_event_is_one_line(fields: dict[str, Any], event: str, terminal: bool) -> None:
    lines = LogLines(terminal=terminal)
    line = lines.rendered(logging.WARNING, event, fields)
    assert line.endswith(b"\n")
    if not terminal:
        assert line.count(b"\n") == 1
        assert "event" in json.loads(line)


# What a program beside weft's own set-up does, each by itself; then weft must log all the same.
HOSTILE = {
    "structlog": "structlog.configure(processors=[bad])",
    "structlog_cached": "structlog.configure(processors=[bad], cache_logger_on_first_use=True)",
    "disable": "logging.disable(logging.CRITICAL)",
    "handler": "logging.basicConfig(handlers=[Bad()], force=True)",
    "root_level": "logging.getLogger().setLevel(1000)",
    "dict_config": "logging.config.dictConfig({'version': 1})",
    "raise_exceptions": "logging.raiseExceptions = True; logging.basicConfig(handlers=[Bad()], force=True)",
    "closed_stderr": "sys.stderr.close(); sys.stdout.close()",
    "no_stderr": "sys.stderr = sys.stdout = None",
    "stderr_replaced": "sys.stderr = Bad()",
    "logger_class": "logging.setLoggerClass(BadLogger)",
    "factory": "logging.setLogRecordFactory(bad)",
    "shutdown": "logging.shutdown()",
}
PROGRAM = """
import asyncio, logging, logging.config, sys, threading
import structlog
import uvloop
from tests.support.processes import environment
from weft.rpc.process import logs
from weft.rpc.process.log_lines import LogLines
def bad(*_args, **_named): raise KeyboardInterrupt
class Bad(logging.Handler):
    emit = write = bad
class BadLogger(logging.Logger):
    handle = bad
logs.configure("info")
{hostile}
log = logs.get_logger("weft.test")
async def work():
    asyncio.get_running_loop().set_exception_handler(logs.tell_loop_failure)
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    asyncio.ensure_future(fails())
    await asyncio.sleep(0.01)
    log.info("from the loop", number=1)
async def fails(): raise OSError("nobody waits for this")
log.info("first")
uvloop.run(work())
thread = threading.Thread(target=lambda: log.warning("from a thread")); thread.start(); thread.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_process_of_weft_logs_whatever_a_program_in_it_sets_up(hostile: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{hostile}", HOSTILE[hostile])],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    ours = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"')]
    assert [line["event"] for line in ours if "number" in line or line["event"].startswith("f")] == [
        "first",
        "from the loop",
        "from a thread",
    ]
    assert sum("exception" in line for line in ours) == 2, "what the event loop complains of"


def test_the_level_is_kept() -> None:
    program = (
        "from weft.rpc.process import logs; logs.configure('warning'); log = logs.get_logger('x');"
        " log.info('quiet'); log.warning('loud', n=1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"], told["n"]) == ("loud", "warning", 1)


# A program that logs by structlog, whenever it imports it, in a process of weft's own.
BY_STRUCTLOG = """
import sys
from tests.support.processes import environment
from weft.rpc.process import logs
logs.configure("info")
assert "structlog" not in sys.modules
import structlog
structlog.contextvars.bind_contextvars(request="r1")
structlog.get_logger("program").warning("by structlog", count=1)
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("program").exception("failed")
    logs.get_logger("weft.test").exception("failed")
import logging
logging.getLogger("program").error("by %s", "logging")
logs.get_logger("weft.test").info("of weft", count=2)
structlog.get_logger("program").debug("left out")
"""


def test_a_program_that_logs_by_structlog_gets_the_same_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BY_STRUCTLOG], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    for line in lines:
        assert line.pop("timestamp").endswith("Z")
        assert line.pop("request") == "r1"
    assert [line.pop("exception", "").splitlines()[-1:] for line in lines] == [
        [], ["ZeroDivisionError: division by zero"], ["ZeroDivisionError: division by zero"], [], [],
    ]  # fmt: skip
    assert lines == [
        {"event": "by structlog", "count": 1, "level": "warning"},
        {"event": "failed", "level": "error"},
        {"event": "failed", "level": "error"},
        {"event": "by logging", "logger": "program", "level": "error"},
        {"event": "of weft", "count": 2, "level": "info"},
    ]
