"""An agent whose handlers log through every door: structlog, `logging`, and weft's own logger. Each door says the request's text."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from weft.agent import Agent, current_task

SERVICE = "logging.v1.Logging"
DOORS = ("structlog", "logging", "logging extra", "exception")

agent = Agent()
_log = structlog.get_logger()


def log_everywhere(text: str) -> None:
    """One line through each door."""
    _log.info("structlog", said=text, password="S3cr3t")
    logging.getLogger("app").info("logging")
    logging.getLogger("app").warning("logging extra", extra={"said": text, "authorization": "Bearer S3cr3t"})
    try:
        raise ValueError(f"redis://:S3cr3t@host {text}")
    except ValueError:
        logging.getLogger("app").exception("exception")


@agent.method(f"{SERVICE}/Async")
async def on_the_loop(request: dict[str, Any]) -> dict[str, Any]:
    log_everywhere(request["text"])
    # The context goes along.
    await asyncio.to_thread(_log.info, "in a thread of asyncio", said=request["text"])
    return request


@agent.method(f"{SERVICE}/Sync")
def in_a_thread(request: dict[str, Any]) -> dict[str, Any]:
    log_everywhere(request["text"])
    # In a thread of one's own it goes along by `copy_context`.
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(lambda: _log.info("in an own thread", said=request["text"]),))
    thread.start()
    thread.join()
    return request


@agent.method(f"{SERVICE}/Isolated", isolate=True)
def in_a_process(request: dict[str, Any]) -> dict[str, Any]:
    log_everywhere(request["text"])
    return request


@agent.method(f"{SERVICE}/Stream")
async def each_line(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Logs a line, and answers, as often as asked."""
    for number in range(int(request["count"])):
        _log.info("line", number=number, said=request["text"])
        yield {"number": number}


@agent.method(f"{SERVICE}/Steps")
async def in_steps(request: dict[str, Any]) -> dict[str, Any]:
    """Logs a line each time that one more of the files is there."""
    for number, path in enumerate(request["files"]):
        while not Path(path).exists():
            await asyncio.sleep(0.01)
        _log.info("step", number=number)
    return {}


@agent.method(f"{SERVICE}/Again")
def once_more(request: dict[str, Any]) -> dict[str, Any]:
    """Its first attempt is lost with its process."""
    _log.info("begins")
    if current_task().attempt == 1:
        os._exit(9)
    return request


@agent.method(f"{SERVICE}/Fail")
def fail(request: dict[str, Any]) -> dict[str, Any]:
    raise ValueError(f"password={request['text']}")
