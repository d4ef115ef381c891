"""One run of an agent: its parts wired together, from its start to its end (see `shutdown`)."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from weft.agent.agent_clients import clients_of
from weft.agent.agent_figures import AgentFigures
from weft.agent.commands.agent_commands import AgentCommands, CommandParts
from weft.agent.direct.direct_handlers import DirectParts
from weft.agent.direct.direct_port import DirectPort, PortUsers
from weft.agent.direct.direct_server import LEAVE_GRACE_S
from weft.agent.direct.direct_use import DirectUse
from weft.agent.direct.load_trailers import LoadReports
from weft.agent.errors import OverrunError
from weft.agent.gauges import Gauges
from weft.agent.handlers.blocked_loop import BlockedLoopWatch
from weft.agent.handlers.isolate import IsolatedPool, sources_by_sandbox
from weft.agent.handlers.overrun import Overruns
from weft.agent.handlers.runners import Runners
from weft.agent.handlers.slots import Slots
from weft.agent.handlers.stack_dump import StackDumper
from weft.agent.handlers.threads import Threads
from weft.agent.hooks import HookRun, Hooks
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.hosting.hosted_policies import contract_of
from weft.agent.idle_end import end_when_idle
from weft.agent.member_hooks import Connected, Disconnected, MemberNews
from weft.agent.process import forks, own_sockets
from weft.agent.process.stopping_signals import stop_on_signals
from weft.agent.session.agent_identity import described, hello_now, identity_of
from weft.agent.session.attempt import HeldAttempt
from weft.agent.session.connector import SessionConnector
from weft.agent.session.executor import CancelRequest, Executor
from weft.agent.session.host_reports import HostReports
from weft.agent.session.log_answers import Answer, LogAnswers
from weft.agent.session.outbox import Outbox
from weft.agent.session.session_stream import CommandAnswer
from weft.agent.settings import AgentSettings
from weft.agent.shutdown import HURRY_TIMEOUT_S, Shutdown, ShutdownParts
from weft.rpc.contracts import descriptors
from weft.rpc.errors import WeftError
from weft.rpc.network.channel import Route
from weft.rpc.payloads.process_payloads import payload_coder
from weft.rpc.process.logs import get_logger
from weft.rpc.security.process_tls import process_tls
from weft.rpc.telemetry.process_metering import ask_certificate
from weft.v1 import command_pb2, fleet_pb2, logs_pb2, session_pb2

_log = get_logger("weft.agent")


class Runtime:
    """An agent that runs. Made, started and closed on the application's event loop.

    Large because it has the methods of `SessionOwner` besides its own.

    Args:
        hooks: the application's functions beside its handlers.
        figures: where its parts count.
        gauges: the application's.
        exit_when_blocked: the process is the agent's own: end it even when a handler blocks the loop for ever.
    """

    _error: WeftError | None = None

    def __init__(
        self,
        settings: AgentSettings,
        methods: Mapping[str, HostedMethod],
        hooks: Hooks,
        figures: AgentFigures,
        gauges: Gauges,
        *,
        exit_when_blocked: bool,
    ) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._threads = Threads("weft-handler")
        self._hooks = HookRun(hooks, self._threads, self._loop)
        self._news = MemberNews(hooks.members, self._threads, self._loop)
        self._shutdown = Shutdown(
            self._loop, settings.drain_grace_s, self._hooks.stop_bound_s, exit_when_blocked=exit_when_blocked
        )
        self._tls = process_tls(settings.tls)
        self._outbox = Outbox(self._shutdown.changed)
        self._slots = Slots(settings.slots, settings.direct_wait_s, settings.direct_queue)
        self._overruns = self._slots.overruns = Overruns(settings.restart_at_overrun_slots, self._overrun)
        self._slots.on_direct_end(self._direct_ended)
        self.clients = clients_of(settings)
        self._pool = self._make_pool(methods)
        self._runners = Runners(
            self._loop, self._threads, self._overruns, self._pool, payload_coder(settings.payloads or False)
        )
        self._executor = Executor(
            methods, self._slots, self._outbox, settings.id, self._runners, figures, settings.resources
        )
        self._figures = figures
        self._executor.show_errors = settings.show_errors
        self._log_answers = self._make_log_answers()
        self._methods = methods
        self._instance_id = secrets.token_hex(16)
        # Contracts by digest: a coordinator asks for the contract that a Hello named.
        self._contracts: dict[str, bytes] = {}
        self._load = LoadReports(settings.id, self._slots, figures.ends)
        self._direct = self._make_direct_port()
        self._hello = self._identity()
        self._unavailable: frozenset[str] = frozenset()
        self._host = HostReports(gauges)
        self._blocked_loop = BlockedLoopWatch(self._loop, self._executor.running_async)
        self.commands = self._make_commands(own_process=exit_when_blocked)
        self._session = SessionConnector(
            settings.target,
            self,
            self._outbox,
            self._end_by,
            agent_id=settings.id,
            route=Route(settings.use_proxy, self._tls.channels, settings.proof(), settings.namespace),
        )
        ask_certificate(figures.figures, self._tls.ports)
        figures.ask(self._slots, self._outbox, self.clients, lambda: self._session.connected)

    def _make_pool(self, methods: Mapping[str, HostedMethod]) -> IsolatedPool | None:
        """The processes of isolated handlers; None: there are no such handlers."""
        sources = sources_by_sandbox(methods.values())
        return IsolatedPool(sources, self.clients, self._threads) if sources else None

    def _make_direct_port(self) -> DirectPort:
        settings = self._settings
        bound = settings.max_message_bytes
        calls, use = self._figures.calls, DirectUse()
        parts = DirectParts(self._runners, self._slots, self._load, settings.id, bound, calls, use)
        users = PortUsers(self._methods, parts, self._describe, lambda: self._session.channel)
        made = DirectPort(settings, self._instance_id, self._tls, users)
        self._figures.denied["agent"] = made.callers.edge.refused.counts
        self._figures.judge_scrapes(made.callers)
        return made

    def _make_log_answers(self) -> LogAnswers | None:
        """What keeps the lines of attempts; None: they are not kept."""
        settings, executor = self._settings, self._executor
        if not settings.log_lines:
            return None
        made = LogAnswers(self._loop, settings.log_lines, settings.log_kept_s, executor.runs)
        executor.awaited, executor.on_gone = made.waiting, made.attempt_ended
        return made

    def _make_commands(self, *, own_process: bool) -> AgentCommands:
        dumper = StackDumper(
            self._loop, threading.get_ident(), os.getpid(), self._pool, self._executor.began_s
        )
        at_hand = self._settings.id, self._threads, self._shutdown, dumper, self._pool
        parts = CommandParts(*at_hand, self._news, lambda: self._hello, self._blocked_loop.blocked_s)
        return AgentCommands(parts, own_process=own_process)

    # -- for the agent ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until stopped.

        Raises:
            HookError: an on_start function raised.
            ListenError: the direct server cannot have its address.
            WeftError: a coordinator refused this agent for good, or an isolated process could not be started.
        """
        # Tasks and threads of handlers inherit this context.
        self.clients.enter(self._loop)
        self._shutdown.start()
        if self._log_answers is not None:
            self._log_answers.start()
        try:
            if await self._run_start_hooks():
                await self._direct.open(self._contracts[self._hello.contract_hash])
                self._hello = self._identity()
                self._shutdown.parts = ShutdownParts(
                    self._outbox, self._slots, self._session, self._executor, self._direct
                )
                self._session.start()
                if self._pool is not None:
                    self._threads.submit(self._warm)
                self._hooks.start_background()
                self._news.start()
                ends, finished = self._figures.ends, self._shutdown.finished
                end_when_idle(self._settings.end_when_idle_s, self._slots, ends, self, finished)
                # Not awaited itself: a cancellation here must not end it.
                await asyncio.wait({self._shutdown.finished})
        except asyncio.CancelledError:
            # The application ends: release all attempts, without a grace.
            self.stop()
            self.stop()
            await asyncio.wait({self._shutdown.finished})
            raise
        finally:
            await self._direct.stop(0.0 if self._shutdown.hurried else LEAVE_GRACE_S)
            self._news.stop()
            await self._hooks.stop(HURRY_TIMEOUT_S if self._shutdown.hurried else None)
            await self.clients.close()
            self._shutdown.closed.set()
            # The shutdown thread waits for it, also if the start has failed.
            self.stop()
            self._executor.close()
            if self._log_answers is not None:
                self._log_answers.close()
            self._threads.close()
            if self._pool is not None:
                self._pool.close()
        if self._error is not None:
            raise self._error

    async def _run_start_hooks(self) -> bool:
        """Run the on_start functions. False if the agent is stopped meanwhile."""
        starting = self._loop.create_task(self._hooks.start())
        try:
            await asyncio.wait({starting, self._shutdown.finished}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            starting.result()
            return True
        finally:
            starting.cancel()

    def stop(self) -> None:
        """Drain and end; a second time: without waiting. From any thread, and from signal handlers."""
        self._shutdown.stop()

    @property
    def connected(self) -> bool:
        return self._session.connected

    @property
    def direct_address(self) -> str:
        return self._direct.address

    def drop_connections(self) -> None:
        """In a forked child of this process: close the agent's connections."""
        own_sockets.drop_connections(
            [self._direct.listening, *map(own_sockets.key, self._figures.listening)],
            [own_sockets.key(target) for target in self._session.addresses],
        )

    def update_methods(self) -> None:
        """Tell the coordinator of changed hosted methods, by another Hello. On the event loop."""
        self._hello = self._identity()
        self._direct.update_methods(self._contracts[self._hello.contract_hash])
        self._session.redial("the hosted methods have changed")

    def make_unavailable(self, services: frozenset[str]) -> None:
        """Take no calls of these services, and of all others again. On the event loop."""
        self._unavailable = services
        # The coordinator must know first: else it would assign a released attempt here again.
        self._session.beat()
        self._executor.make_unavailable(services)
        self._direct.make_unavailable(services)

    # -- for the stream: see weft.agent.session.session_stream.Agent ------------------------------------------------------------

    def hello(self) -> session_pb2.Hello:
        held = self._outbox.held()
        hello = hello_now(self._hello, self._unavailable, held, draining=self._shutdown.draining)
        return self.commands.labels.put_into(hello)

    def contract(self, digest: str) -> bytes:
        return self._contracts[digest]

    def report(self) -> session_pb2.AgentReport:
        now_s = time.monotonic()
        if self._direct.renamed():
            self._loop.call_soon_threadsafe(self._renamed)
        self._blocked_loop.look(now_s)
        self._load.sampled(self._host.load(now_s))
        report = session_pb2.AgentReport(
            used_slots=self._slots.durable,
            waiting=self._slots.waiting,
            direct_slots=self._slots.direct,
            load=self._load.host,
            draining=self._shutdown.draining,
            stuck_slots=self._executor.stuck_slots,
            stuck_resources=self._executor.stuck_resources,
            overrun_slots=self._overruns.slots,
            overrun_methods=self._overruns.methods,
            unavailable_services=sorted(self._unavailable),
            direct_usage=self._direct.use.take(),
        )
        self._host.add_detail(report.load, now_s)
        return report

    def welcomed(self, welcome: session_pb2.Welcome) -> None:
        self._host.begin()
        self._direct.welcomed(welcome)
        self._news.connected(Connected(welcome.coordinator_id, welcome.epoch))
        if welcome.max_response_bytes:
            self._executor.max_response_bytes = welcome.max_response_bytes
        self._executor.max_state_bytes = welcome.max_state_bytes
        _log.info(
            "session.opened",
            agent_id=self._settings.id,
            coordinator_id=welcome.coordinator_id,
            epoch=welcome.epoch,
            adopted=len(welcome.adopted),
            lost=len(welcome.lost),
        )

    def disconnected(self, reason: str, message: str) -> None:
        self._news.disconnected(Disconnected(reason, message))

    def desired(self, state: int) -> None:
        self._executor.hold_back(on=state == fleet_pb2.DESIRED_STATE_DRAINING)
        if not self._shutdown.draining:
            self._direct.accept(on=state == fleet_pb2.DESIRED_STATE_ACTIVE)

    def tokens_changed(self) -> None:
        self._direct.tokens_changed()

    def asked_for_logs(self, requests: Sequence[logs_pb2.LogRequest], answer: Answer) -> None:
        if self._log_answers is not None:
            self._log_answers.ask(requests, answer)

    def commanded(self, commands: Sequence[command_pb2.AgentCommand], answer: CommandAnswer) -> None:
        self.commands.take(commands, answer)

    def work(self, assigned: Sequence[HeldAttempt], cancellations: Sequence[CancelRequest]) -> None:
        self._executor.handle(assigned, cancellations)

    # -- wiring ---------------------------------------------------------------------------------------------------

    def _identity(self) -> session_pb2.Hello:
        contract = contract_of(self._methods)
        digest = descriptors.digest(contract)
        self._contracts[digest] = contract
        direct = self._direct
        return identity_of(
            self._settings, self._methods, self._instance_id, digest, direct.address, direct.tls_name
        )

    def _renamed(self) -> None:
        self._hello = self._identity()
        self._session.redial("the certificate has another name")

    def _describe(self) -> fleet_pb2.Agent:
        hello = hello_now(self._hello, self._unavailable, draining=self._shutdown.draining)
        return described(self.commands.labels.put_into(hello), self._slots.used, self._load.host)

    def _direct_ended(self) -> None:
        self._executor.start_waiting()
        if self._shutdown.draining:
            self._shutdown.changed()

    def _warm(self) -> None:
        assert self._pool is not None
        try:
            self._pool.warm()
        except WeftError as error:
            self._end_by(error)

    def _end_by(self, error: WeftError) -> None:
        """End at once, with an error. From any thread."""
        self._error = error
        self._shutdown.hurry()

    def _overrun(self) -> None:
        """End in order, with an error, because too many slots are overrun. On the loop."""
        if self._shutdown.draining:
            return
        self._error = OverrunError(
            f"handlers that ignore their cancellation hold {self._overruns.slots} of {self._slots.total} slots"
            f" ({', '.join(self._overruns.methods)}): the agent has ended, to be started again"
        )
        _log.error(
            "agent.overrun", slots=self._overruns.slots, effect="too many: it ends, to be started again"
        )
        self._shutdown.stop()


async def run_here(runtime: Runtime, stop: Callable[[], None], *, own_process: bool) -> None:
    """Run an agent; in a process of its own, until a signal stops it.

    Args:
        stop: called by signals.
    """
    restore = stop_on_signals(stop) if own_process else _nothing

    def let_go() -> None:
        # A child process that gets a stop signal must end.
        restore()
        runtime.drop_connections()

    try:
        with forks.guarded(let_go):
            await runtime.run()
    finally:
        restore()


def _nothing() -> None:
    """Nothing to restore: signals were left alone."""
