"""The other side of `isolate`: runs handlers, one at a time, in a process that the agent may kill.

The main thread runs them; a second one reads the pipe, so that a cancellation, or the agent's end, is seen at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from weft.agent.handlers import outcomes
from weft.agent.handlers.current_call import CALL_ID
from weft.agent.handlers.handler_context import AsyncContext, HandlerContext, SyncContext
from weft.agent.handlers.invoke import invoke_async, invoke_sync
from weft.agent.handlers.keyed_state import change_of
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.handlers.process_messages import encode
from weft.agent.handlers.stack_dump import StackDumper
from weft.agent.handlers.used_units import put_units
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.hosting.payload_checks import ResponseTooLarge
from weft.agent.hosting.sources import from_sources
from weft.agent.process import event_loop, forks, search_path
from weft.rpc.calls import metadata
from weft.rpc.process import logs, process_group
from weft.rpc.process.log_lines import level_name
from weft.rpc.process.signals import stop_signals
from weft.rpc.process.steady_output import make_steady
from weft.rpc.telemetry import traces
from weft.rpc.telemetry.providers import set_up_traces
from weft.v1 import session_pb2, task_pb2


class _Run(NamedTuple):
    """The run that the agent has asked for: one at a time."""

    hosted: HostedMethod
    context: HandlerContext
    limit_bytes: int


def main(
    pipe: Connection[Any, Any],
    sources: bytes,
    clients: MeshClients,
    folders: Sequence[str] = (),
    log_level: int = logging.INFO,
    exported_as: tuple[str, str] | None = None,
) -> None:
    """Load the handlers and serve the pipe until it breaks.

    Args:
        folders: the agent's import path.
        log_level: the lowest level that the agent logs.
        exported_as: service and instance in the traces that the agent exports; None: it exports none.
    """
    clients.enter()
    # What handlers start must not have the pipe: else the agent would not notice this process' end while it lives.
    with contextlib.suppress(OSError):
        os.set_inheritable(pipe.fileno(), False)
    # Processes that handlers start here are killed with this one.
    process_group.lead()
    # multiprocessing forbids daemons to have children; handlers may.
    multiprocessing.current_process().daemon = False
    # If a signal goes to all processes of a service, the agent handles it, and ends its processes in its own time.
    # A handler that does nothing, and not SIG_IGN, which the handlers' own child processes would inherit.
    previous = {number: signal.signal(number, lambda *_: None) for number in stop_signals()}

    def let_go() -> None:
        # Forked children must not have the pipe: else the agent would not notice this process' end while they live.
        pipe.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
        logs.configure(level_name(log_level))

    process = _IsolatedProcess(pipe)
    # Output must not block handlers. Logs of handlers, and of weft's own code here, go to the agent's log.
    make_steady()
    logs.forward(process.forward, log_level)
    for folder in folders:
        search_path.add(Path(folder))
    if exported_as is not None:
        set_up_traces(*exported_as)
    try:
        methods = from_sources(pickle.loads(sources))  # noqa: S301 - written by the agent that started this
    except BaseException:
        process.send(("failed", traceback.format_exc()))
        return
    with forks.guarded(let_go):
        process.serve(methods)


class _IsolatedProcess:
    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._runs: SimpleQueue[_Run] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        # Handlers run in this thread, with or without the loop.
        self._dumper = StackDumper(self._loop, threading.get_ident(), os.getpid())
        # Guards the two below, which the reading thread uses to cancel what runs now.
        self._current_lock = threading.Lock()
        self._context: HandlerContext | None = None
        self._task: asyncio.Task[None] | None = None

    def send(self, message: tuple[Any, ...]) -> None:
        data = encode(message)
        with self._lock:
            self._pipe.send_bytes(data)

    def _send_headers(self, pairs: metadata.Pairs) -> None:
        headers = task_pb2.Outcome(headers=metadata.to_proto(pairs))
        self.send(("headers", headers.SerializeToString()))

    def serve(self, methods: Mapping[str, HostedMethod]) -> None:
        threading.Thread(target=self._read, args=(methods,), name="weft-pipe", daemon=True).start()
        self.send(("ready",))
        while True:
            run = self._runs.get()
            outcome = self._run(run.hosted, run.context, run.limit_bytes)
            with self._current_lock:
                self._context = self._task = None
            put_units(outcome, run.context)
            if (write := change_of(run.context)) is not None:
                self.send(("state", write.SerializeToString()))
            self.send(("done", outcome.SerializeToString()))

    def _run(self, hosted: HostedMethod, context: HandlerContext, limit_bytes: int) -> task_pb2.Outcome:
        def send(payload: bytes) -> bool:
            if len(payload) > limit_bytes:
                raise ResponseTooLarge(outcomes.too_large(len(payload), limit_bytes))
            self.send(("progress", payload))
            return True

        async def send_async(payload: bytes) -> None:
            send(payload)
            # Sending blocks if the agent is behind. A cancellation must still get through.
            await asyncio.sleep(0)

        # Kept here: if a handler cancels its own asyncio task, that task ends without a result.
        outcome: task_pb2.Outcome | None = None

        async def run_async(context: AsyncContext) -> None:
            nonlocal outcome
            with self._current_lock:
                self._task = asyncio.current_task()
                if context.cancel_signal and self._task is not None:
                    self._task.cancel()
            outcome = await invoke_async(hosted, context, send_async)

        with traces.joined(context.assignment.context):
            if isinstance(context, AsyncContext):
                # In a context of its own: the next handler must not see this one's context variables.
                run = contextvars.copy_context().run
                with contextlib.suppress(asyncio.CancelledError):
                    run(event_loop.run_to_end, self._loop, run_async(context))
            else:
                assert isinstance(context, SyncContext)
                outcome = invoke_sync(hosted, context, send)
        return outcomes.bounded(outcome or outcomes.not_run(hosted.name), limit_bytes)

    def _read(self, methods: Mapping[str, HostedMethod]) -> None:
        try:
            while True:
                match self._pipe.recv():
                    case ("run", *asked):
                        self._begin(methods, *asked)
                    case ("cancel", reason):
                        self._cancel(reason)
                    case ("stacks",):
                        self.send(("stacks", self._dumper.dump().SerializeToString()))
                    case ("log_level", level):
                        logs.set_level(level)
        except (EOFError, OSError):
            # The agent is gone: the outcome is not needed.
            process_group.kill_own()
            os._exit(1)

    def _begin(
        self,
        methods: Mapping[str, HostedMethod],
        data: bytes,
        left_s: float | None,
        agent_id: str,
        limit_bytes: int,
        state_limit_bytes: int,
    ) -> None:
        assignment = session_pb2.Assignment.FromString(data)
        hosted = methods[assignment.method]
        context_type = AsyncContext if hosted.is_async else SyncContext
        context = context_type(assignment, agent_id, None if left_s is None else time.monotonic() + left_s)
        context.durable = not assignment.task_id.startswith(CALL_ID)
        # Its caller may wait for them.
        context.on_headers = self._send_headers
        context.state_limit_bytes = state_limit_bytes
        # From here on it can be cancelled, also before the handler begins.
        with self._current_lock:
            self._context = context
        self._runs.put(_Run(hosted, context, limit_bytes))

    def _cancel(self, reason: str) -> None:
        with self._current_lock:
            context, task = self._context, self._task
            if context is None:
                return
            context.signal_cancel(reason)
            if task is not None:
                task.get_loop().call_soon_threadsafe(task.cancel)
        context.run_callbacks()

    def forward(self, level: int, _name: str, event: str, fields: Mapping[str, Any]) -> None:
        """Send an event to the agent's log."""
        self.send(("log", level, event, fields))
