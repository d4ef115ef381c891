"""A coordinator as a process: event loop, signals, garbage collection."""

from __future__ import annotations

import asyncio
import gc
import os

from weft.coordinator.garbage_watch import GarbageWatch
from weft.coordinator.handover.tenure import Tenure
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.process import event_loops, logs, open_files
from weft.rpc.process.service_notices import service_notices
from weft.rpc.process.signals import handle_stop_signals, hurries
from weft.rpc.telemetry.metrics_export import set_up_metrics, shut_down_metrics
from weft.rpc.telemetry.providers import set_up_traces, shut_down
from weft.rpc.telemetry.span_tracer import SpanTracer


async def serve(
    settings: CoordinatorSettings, tracer: SpanTracer | None = None, *, replace: bool = False
) -> None:
    """Run a coordinator until SIGTERM, SIGINT or SIGHUP, or until another one has taken its place. A second SIGTERM or SIGINT ends it at once.

    Args:
        replace: take the place of the coordinator that has the address, if there is one.
    """
    tenure = Tenure(settings, lambda of, shares: Coordinator(of, tracer=tracer, shares_port=shares))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.tell_loop_failure)

    def signalled(number: int) -> None:
        if stop.is_set() and hurries(number):
            os._exit(1)
        stop.set()

    handle_stop_signals(loop, signalled)
    provider = set_up_metrics("weft-coordinator", settings.process_name, tenure.coordinator.figures)
    await tenure.begin(replace=replace)
    # Recovered tasks stay for a while: the garbage collector need not examine them again and again.
    gc.freeze()
    watch = loop.create_task(GarbageWatch().run(), name="garbage watch")
    notices = service_notices()
    following = None
    if notices is not None:
        following = loop.create_task(notices.follow(tenure.status_line, tenure.probe_store))
    try:
        await tenure.last(stop)
    finally:
        watch.cancel()
        if notices is not None:
            notices.stopping()
        # Watched to its end: the stop is bounded, and its steps are on the loop.
        await tenure.end(told=stop.is_set())
        if following is not None:
            following.cancel()
        await asyncio.to_thread(shut_down_metrics, provider)


def run(settings: CoordinatorSettings, *, replace: bool = False) -> None:
    """Run a coordinator in this process, on uvloop if it is installed; blocks until the coordinator has stopped, or has been replaced.

    Args:
        replace: take the place of the coordinator that has the address, if there is one.
    """
    logs.configure(settings.log_level)
    open_files.raise_limit()
    export = set_up_traces("weft-coordinator", settings.process_name)
    try:
        _run(settings, None if export is None else export.tracer, replace=replace)
    finally:
        shut_down(export)


def _run(settings: CoordinatorSettings, tracer: SpanTracer | None, *, replace: bool) -> None:
    # Many tasks are in memory, hardly ever in cycles: frequent collections would only cost pauses.
    gc.set_threshold(50_000, 20, 100)
    event_loops.run(serve(settings, tracer, replace=replace))
