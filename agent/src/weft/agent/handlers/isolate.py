"""A pool of processes for isolated handlers. They can be killed, are kept warm, and run one task at a time each.

A process is started by spawn, or in a sandbox, imports the handlers' modules once, and then waits on a pipe. A thread of the agent
feeds one task into it and reads until its outcome, or until the pipe breaks: then the process has died. The other way
round, a process whose pipe breaks has lost its agent and exits.

    agent -> process   ("run", assignment, seconds left or None, agent id, size limit, that of a state)   ("cancel", reason)
                       ("stacks",)  ("log_level", level)
    process -> agent, without pickles: see process_messages
                       ("ready",)  ("failed", text)  ("log", level, event, fields)  ("headers", pairs)  ("progress", payload)
                       ("stacks", dump)  ("state", change)  ("done", outcome)
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue

from google.protobuf.message import DecodeError

from weft.agent.errors import HostingError
from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_context import SyncContext
from weft.agent.handlers.isolated_start import EndedAtStart, KeptWarm, NoProcess, PooledProcess, relay
from weft.agent.handlers.keyed_state import StateLeft
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.handlers.process_messages import receive
from weft.agent.handlers.stack_dump import IsolatedDump
from weft.agent.handlers.threads import Threads
from weft.agent.hosting.hosted_methods import FunctionSource, HostedMethod, ServicerSource
from weft.agent.hosting.payload_checks import MessageRefused
from weft.agent.process.failure_log import log_raised
from weft.agent.sandboxing.sandbox import Sandbox
from weft.rpc.calls import metadata
from weft.rpc.process import logs
from weft.rpc.telemetry import traces
from weft.v1 import command_pb2, keyed_state_pb2, session_pb2, task_pb2

_log = logs.get_logger("weft.agent")

# That nobody has taken yet: a process may send as many as it likes.
_MOST_DUMPS = 8
# A job that waits for a process that is started in advance looks so often whether it was killed.
_LOOK_S = 0.2
_ENDED = "the task has ended before its process has started"


class _Job:
    """A task's process, if it has one yet, and whether the process is to be killed."""

    def __init__(self) -> None:
        self.process: PooledProcess | None = None
        self.killed = False
        # Stacks of the process, as it has answered.
        self.dumps: SimpleQueue[bytes] = SimpleQueue()


class IsolatedPool:
    """The processes. Called from threads; never from the event loop, except `kill`.

    Args:
        sources: of the handlers in each sandbox; None: in no sandbox. A sandbox gets no other handlers.
        clients: the agent's clients. Each process makes its own after them.
    """

    def __init__(
        self,
        sources: Mapping[Sandbox | None, Sequence[ServicerSource | FunctionSource]],
        clients: MeshClients,
        threads: Threads,
    ) -> None:
        self._threads = threads
        self._clients = clients
        self._kinds = {sandbox: KeptWarm(sandbox, own) for sandbox, own in sources.items()}
        self._lock = threading.Lock()
        self._jobs: dict[SyncContext, _Job] = {}
        self._starting: set[PooledProcess] = set()
        self._closed = False

    def warm(self) -> None:
        """Start a process of each kind for the next task, unless one is ready. Called at the agent's start, so that mistakes show at
        once.

        Raises:
            HostingError: it could not import the handlers.
        """
        for kind in self._kinds.values():
            with kind.warming:
                if self._closed:
                    return
                try:
                    if not kind.idle:
                        self._put_back(self._start(kind, _Job()))
                except NoProcess as error:
                    # No mistake of the program. The next task tries it again.
                    _log.error("isolated.start_failed", error=error.message)
                except HostingError:
                    # Else `close` has killed it.
                    if not self._closed:
                        raise

    def _warm_again(self) -> None:
        try:
            self.warm()
        except HostingError as error:
            _log.error("isolated.start_failed", error=error.message)

    def run(
        self,
        context: SyncContext,
        send: Callable[[bytes], bool],
        limit_bytes: int,
        sandbox: Sandbox | None = None,
    ) -> tuple[task_pb2.Outcome, bool]:
        """Run a task's handler; gives the outcome, and whether its process died."""
        job = _Job()
        with self._lock:
            self._jobs[context] = job
        process: PooledProcess | None = None
        try:
            process = self._take(self._kinds[sandbox], job)
            outcome = self._converse(process, job, context, send, limit_bytes)
        except HostingError as error:
            if not job.killed:
                _log.error("isolated.start_failed", error=error.message)
            outcome = None
        except MessageRefused as error:
            # The process has not ended at its refused response.
            outcome, job.killed = error.outcome, True
        finally:
            with self._lock:
                del self._jobs[context]
        if process is None:
            return outcomes.process_died(), True
        if outcome is not None and not job.killed:
            self._put_back(process)
            return outcome, False
        self._bury(process, context, killed=job.killed)
        return (outcomes.process_died(), True) if outcome is None else (outcome, False)

    def _converse(
        self,
        process: PooledProcess,
        job: _Job,
        context: SyncContext,
        send: Callable[[bytes], bool],
        limit_bytes: int,
    ) -> task_pb2.Outcome | None:
        """Give a process its task and listen until the end. Returns None if it died."""
        assignment = session_pb2.Assignment()
        assignment.CopyFrom(context.assignment)
        # The parent of the handler's spans is the attempt's own span, which lives here.
        traces.inject(assignment.context)
        try:
            process.send(
                (
                    "run",
                    assignment.SerializeToString(),
                    context.time_left_s(),
                    context.agent_id,
                    limit_bytes,
                    context.state_limit_bytes,
                )
            )
            if context.cancel_signal:
                process.send(("cancel", context.cancel_reason))
            while True:
                match receive(process.pipe, limit_bytes + context.state_limit_bytes):
                    case ("done", data):
                        return task_pb2.Outcome.FromString(data)
                    case ("state", data):
                        context.keyed_state = StateLeft(keyed_state_pb2.StateWrite.FromString(data))
                    case ("headers", pairs):
                        _send_headers(context, task_pb2.Outcome.FromString(pairs))
                    case ("progress", data):
                        send(data)
                    case ("stacks", data) if isinstance(data, bytes) and job.dumps.qsize() < _MOST_DUMPS:
                        job.dumps.put(data)
                    case ("log", level, event, fields):
                        relay(level, event, fields)
        except MessageRefused:
            raise
        except Exception as error:
            # Its pipe has broken, or a handler has written into the pipe: then its messages cannot be trusted.
            if not isinstance(error, EOFError | OSError):
                log_raised("isolated.message_invalid", error)
            return None

    def cancel(self, context: SyncContext) -> None:
        """Tell a task's handler that it is cancelled."""
        with self._lock:
            job = self._jobs.get(context)
            process = job.process if job is not None else None
        if process is not None:
            with contextlib.suppress(OSError):
                process.send(("cancel", context.cancel_reason))

    def dumps(self, timeout_s: float) -> list[IsolatedDump]:
        """The stacks of each process that runs a handler now."""
        with self._lock:
            running = [
                (context, job, job.process) for context, job in self._jobs.items() if job.process is not None
            ]
        for _, _, process in running:
            with contextlib.suppress(OSError):
                process.send(("stacks",))
        ends_at_s = time.monotonic() + timeout_s
        found: list[IsolatedDump] = []
        for context, job, process in running:
            try:
                data = job.dumps.get(timeout=max(0.0, ends_at_s - time.monotonic()))
                stacks = command_pb2.StackDump.FromString(data).stacks
            except (Empty, DecodeError):
                stacks = None
            found.append(IsolatedDump(context, process.pid, stacks))
        return found

    def set_log_level(self, level: int) -> None:
        """Let the processes log from this level on."""
        with self._lock:
            processes = self._all()
        for process in processes:
            with contextlib.suppress(OSError):
                process.send(("log_level", level))

    def kill(self, context: SyncContext) -> None:
        """Kill the process that runs a task."""
        with self._lock:
            job = self._jobs.get(context)
            if job is None:
                return
            job.killed = True
            if job.process is not None:
                job.process.kill()

    def close(self) -> None:
        """Kill every process, those that start as well."""
        with self._lock:
            self._closed = True
            processes = self._all()
            for job in self._jobs.values():
                job.killed = True
            idle = [process for kind in self._kinds.values() for process in kind.idle]
            for kind in self._kinds.values():
                kind.idle = []
        for process in processes:
            process.kill()
        for process in idle:
            process.reap()

    def _all(self) -> list[PooledProcess]:
        idle = [process for kind in self._kinds.values() for process in kind.idle]
        working = [job.process for job in self._jobs.values() if job.process is not None]
        return list({*idle, *working, *self._starting})

    def _take(self, kind: KeptWarm, job: _Job) -> PooledProcess:
        """A process for a job: one that waits, or a new one.

        Raises:
            HostingError: it did not start, or the job was killed meanwhile.
        """
        while not kind.warming.acquire(timeout=_LOOK_S):
            if job.killed:
                raise HostingError(_ENDED)
        try:
            with self._lock:
                process = kind.idle.pop() if kind.idle and not job.killed else None
                job.process = process
        finally:
            kind.warming.release()
        return process or self._start(kind, job)

    def _start(self, kind: KeptWarm, job: _Job) -> PooledProcess:
        """A process that takes tasks. One that a signal ends at its start is started once more: what somebody kills is no mistake of the program,
        which would end its agent.

        Raises:
            HostingError: it could not import the handlers, did not start, or is not needed any more.
        """
        try:
            return self._start_once(kind, job)
        except EndedAtStart as error:
            if not (self._closed or job.killed):
                _log.warning("isolated.start_repeated", error=error.message)
            return self._start_once(kind, job)

    def _start_once(self, kind: KeptWarm, job: _Job) -> PooledProcess:
        """`close` and `kill` end it while it starts, too."""
        if self._closed or job.killed:
            raise HostingError(_ENDED)
        process = PooledProcess(kind, self._clients)
        with self._lock:
            self._starting.add(process)
            job.process = process
            killed = self._closed or job.killed
        try:
            if killed:
                process.kill()
            process.wait_ready()
        finally:
            with self._lock:
                self._starting.discard(process)
        return process

    def _put_back(self, process: PooledProcess) -> None:
        with self._lock:
            if not self._closed:
                process.kind.idle.append(process)
                return
        process.kill()
        process.reap()

    def _bury(self, process: PooledProcess, context: SyncContext, *, killed: bool) -> None:
        process.kill()
        exit_code = process.reap()
        _log.warning(
            "isolated.killed" if killed else "isolated.died",
            **context.log_fields(),
            exit_code=exit_code,
        )
        self._threads.submit(self._warm_again)


def _send_headers(context: SyncContext, sent: task_pb2.Outcome) -> None:
    try:
        context.send_initial_metadata(metadata.from_proto(sent.headers))
    except Exception as error:  # The caller may be gone. The outcome has the rest.
        _log.debug("isolated.headers_not_sent", error=repr(error))


def sources_by_sandbox(
    methods: Iterable[HostedMethod],
) -> dict[Sandbox | None, list[ServicerSource | FunctionSource]]:
    """The sources of isolated methods, each once: a servicer's methods have one."""
    found: dict[Sandbox | None, dict[int, ServicerSource | FunctionSource]] = {}
    for method in methods:
        if method.isolated is not None:
            found.setdefault(method.sandbox, {})[id(method.isolated)] = method.isolated
    return {sandbox: list(own.values()) for sandbox, own in found.items()}
