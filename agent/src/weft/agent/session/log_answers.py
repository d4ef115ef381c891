"""Answers a coordinator's requests for lines that attempts have logged.

On the event loop, except `line_added`. A request may wait for the next line: whoever follows a task asks again and again, so
that nothing is kept here of those who follow, and lines go out as fast as they are taken.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress

from weft.agent.session.attempt import Ref
from weft.agent.session.kept_logs import KeptLogs
from weft.rpc.process import log_context
from weft.rpc.times import seconds
from weft.v1 import logs_pb2

MAX_WAIT_S = 60.0
# Requests that wait at a time. Further ones are answered at once.
MAX_WAITING = 256

# Takes an answer to the stream on which the request came.
Answer = Callable[[logs_pb2.LogReply], None]


class LogAnswers:
    """Keeps the lines of attempts, and answers requests for them.

    Args:
        max_lines: of one attempt.
        kept_s: so long after an attempt's last line its lines are dropped.
        runs: whether an attempt runs here.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_lines: int, kept_s: float, runs: Callable[[Ref], bool]
    ) -> None:
        self._loop = loop
        self._runs = runs
        self._kept = KeptLogs(max_lines, kept_s, runs, self.line_added)
        self.waiting: defaultdict[Ref, set[_Waiting]] = defaultdict(set)

    def start(self) -> None:
        """Keep all lines from now on."""
        log_context.watch(self._kept.add)

    def close(self) -> None:
        """Keep no more lines, and answer nobody."""
        log_context.unwatch(self._kept.add)
        for waiting in [each for some in self.waiting.values() for each in some]:
            waiting.timer.cancel()
        self.waiting.clear()

    def ask(self, requests: Iterable[logs_pb2.LogRequest], answer: Answer) -> None:
        """Answer each request: now, or when there is a line."""
        for request in requests:
            ref = (request.task_id, request.attempt)
            reply = self._reply(request, ref)
            wait_s = min(MAX_WAIT_S, seconds(request.wait))
            waiting = sum(map(len, self.waiting.values()))
            if reply.lines or reply.ended or wait_s <= 0.0 or waiting >= MAX_WAITING:
                answer(reply)
            else:
                self.waiting[ref].add(_Waiting(self, request, ref, answer, wait_s))

    def line_added(self, ref: Ref) -> None:
        """An attempt has logged a line. From any thread."""
        if ref in self.waiting:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self.wake, ref)

    def attempt_ended(self, ref: Ref) -> None:
        """An attempt runs no longer."""
        self.wake(ref)

    def wake(self, ref: Ref) -> None:
        """Answer those that wait for an attempt."""
        for waiting in self.waiting.pop(ref, ()):
            waiting.timer.cancel()
            waiting.answer(self._reply(waiting.request, ref))

    def expire(self, waiting: _Waiting) -> None:
        """The time of one that waits is over: answer it without lines."""
        others = self.waiting.get(waiting.ref, set())
        others.discard(waiting)
        if not others:
            self.waiting.pop(waiting.ref, None)
        waiting.answer(self._reply(waiting.request, waiting.ref))

    def _reply(self, request: logs_pb2.LogRequest, ref: Ref) -> logs_pb2.LogReply:
        # In this order: no line comes after the end.
        ended = not self._runs(ref)
        found = self._kept.read(ref, request.after_sequence)
        if found is None:
            return logs_pb2.LogReply(request_id=request.request_id, ended=ended)
        return logs_pb2.LogReply(
            request_id=request.request_id,
            lines=found.lines,
            more=found.more,
            ended=ended,
            last_sequence=found.last_sequence,
        )


class _Waiting:
    """A request that waits for the next line of its attempt."""

    __slots__ = ("answer", "ref", "request", "timer")

    def __init__(
        self, answers: LogAnswers, request: logs_pb2.LogRequest, ref: Ref, answer: Answer, wait_s: float
    ) -> None:
        self.request = request
        self.ref = ref
        self.answer = answer
        self.timer = asyncio.get_running_loop().call_later(wait_s, answers.expire, self)
