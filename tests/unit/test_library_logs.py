"""Where the application sets logging up itself: its lines get the task's fields, and are kept once for `weft tasks logs`."""

from __future__ import annotations

import contextvars
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import structlog

from weft.agent import TaskLogFilter, log_fields, task_log_processor
from weft.rpc.calls import call_context
from weft.rpc.process import log_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FIELDS = {"task_id": "t1", "attempt": 2, "method": "a.v1.B/C", "agent_id": "a1"}


class _Handled:
    def child_context(self) -> call_context.CallContext:
        return call_context.CallContext("t1", "t1", traceparent=f"00-{TRACE}-{SPAN}-01")

    def log_fields(self) -> dict[str, str | int]:
        return dict(FIELDS)


def in_a_handler(work: Callable[[], None]) -> None:
    def run() -> None:
        call_context.enter(_Handled())
        work()

    contextvars.copy_context().run(run)


@pytest.fixture
def kept() -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    lines: list[tuple[str, Mapping[str, Any]]] = []

    def keep(level: str, entry: Mapping[str, Any]) -> None:
        lines.append((level, entry))

    log_context.watch(keep)
    yield lines
    log_context.unwatch(keep)


def test_logging(kept: list[tuple[str, Mapping[str, Any]]]) -> None:
    output = io.StringIO()
    logger = logging.getLogger("tests.library")
    handlers = [logging.StreamHandler(output), logging.StreamHandler(io.StringIO())]
    for handler in handlers:
        handler.setFormatter(
            logging.Formatter("%(task_id)s|%(attempt)s|%(agent_id)s|%(trace_id)s|%(message)s")
        )
        handler.addFilter(TaskLogFilter())
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        logger.info("outside")
        in_a_handler(lambda: logger.warning("inside %s", "x", extra={"password": "S3cr3t", "n": 1}))
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
    assert output.getvalue().splitlines() == ["||||outside", f"t1|2|a1|{TRACE}|inside x"]
    ((level, line),) = kept
    assert (level, line["event"], line["n"], line["password"]) == ("warning", "inside x", 1, "[redacted]")
    assert {key: line[key] for key in FIELDS} == FIELDS


def test_structlog(kept: list[tuple[str, Mapping[str, Any]]]) -> None:
    output = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(output), processors=[task_log_processor, structlog.processors.JSONRenderer()]
    )
    log.info("outside", n=1)
    in_a_handler(lambda: log.error("inside", token="S3cr3t"))
    outside, inside = map(json.loads, output.getvalue().splitlines())
    assert outside == {"n": 1, "event": "outside"}
    # The application's own lines are its own business.
    assert inside == {"event": "inside", "token": "S3cr3t", **FIELDS, "trace_id": TRACE, "span_id": SPAN}
    ((level, line),) = kept
    assert (level, line["event"], line["token"]) == ("error", "inside", "[redacted]")


def test_fields_alone() -> None:
    assert log_fields() == {}
    found: list[dict[str, Any]] = []
    in_a_handler(lambda: found.append(log_fields()))
    assert found == [{**FIELDS, "trace_id": TRACE, "span_id": SPAN}]
