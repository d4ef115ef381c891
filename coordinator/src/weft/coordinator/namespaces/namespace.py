"""One mesh in a coordinator: the parts of a namespace are started in order and stopped in the reverse order.

open:  store (recovers)
start: contracts, policies, run limits ─► agents ─► sessions, dispatcher, sweeper, schedules
stop:  health NOT_SERVING ─► no new tasks, waiting callers answered ─► schedules, dispatcher, sweeper ─► streams closed
close: direct calls ─► store closed
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from grpc_health.v1 import health_pb2_grpc

from weft.coordinator import guard
from weft.coordinator.calls.call_tasks import CallTasks
from weft.coordinator.calls.direct_proxy import DirectCalls
from weft.coordinator.calls.durable_proxy import DurableCalls
from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.calls.submit_spans import SubmitSpans
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.calls.waiting_calls import WaitingCalls
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.contracts.contract_sync import ContractSync
from weft.coordinator.dispatch.dispatcher import Dispatcher
from weft.coordinator.dispatch.plugin_planner import planner_of
from weft.coordinator.dispatch.queue_forecast import QueueForecast
from weft.coordinator.dispatch.session_index import SessionIndex
from weft.coordinator.dispatch.sweeper import Sweeper
from weft.coordinator.dispatch.unserved_queues import UnservedQueues
from weft.coordinator.dispatch.wait_spans import WaitSpans
from weft.coordinator.events.event_types import OWN_FILES
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.discovery_service import DiscoveryService
from weft.coordinator.fleet.fleet_sync import FleetSync
from weft.coordinator.fleet.fleet_view import FleetView
from weft.coordinator.fleet.matching import Matching
from weft.coordinator.fleet.method_service import MethodService
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.fleet.queue_view import Queues
from weft.coordinator.fleet.resource_view import ResourceView
from weft.coordinator.fleet.service_health import OWN_SERVICES, ServiceHealth
from weft.coordinator.namespaces.coordinator_parts import CoordinatorParts
from weft.coordinator.namespaces.mesh_departure import MeshDeparture
from weft.coordinator.namespaces.mesh_figures import CountedParts, MeshFigures
from weft.coordinator.namespaces.mesh_parts import MeshTools, made_parts
from weft.coordinator.namespaces.mesh_services import MeshServices
from weft.coordinator.namespaces.session_events import SessionEvents
from weft.coordinator.namespaces.store_events import StoreEvents, Upkeep
from weft.coordinator.policy.policy_rows import PolicyRows
from weft.coordinator.policy.run_limit_sync import RunLimitSync
from weft.coordinator.service import CoordinatorService, FleetParts, TaskParts
from weft.coordinator.sessions.attempt_outcomes import AttemptOutcomes
from weft.coordinator.sessions.contract_admission import ContractAdmission
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.state.state_writer import MeshState
from weft.coordinator.statistics.stats_service import StatsService
from weft.coordinator.sticky.sticky_part import StickyPart
from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Owner, QueueDepth, SweepReport
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.usage.usage_part import UsagePart
from weft.rpc import health, refusals
from weft.rpc.contracts.reflection import Reflection
from weft.rpc.errors import WeftError
from weft.rpc.network.agent_route import AgentRoute
from weft.rpc.network.routes import Routes
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.call_figures import CallFigures
from weft.rpc.telemetry.coordinator_metrics import HOOK_REQUESTS
from weft.v1 import fleet_pb2

log = get_logger(__name__)

STORE_CLOSE_S = 10.0
_GOES_ON = "the coordinator is stopping; the task goes on, ask again with the same request id"
_stopping = partial(refusals.stopping, retry_after_s=1.0)


class Namespace(StoreEvents, SessionEvents, MeshDeparture):
    """One mesh: a store, the agents and tasks in it, and the services in front of them. Large because it wires all parts of a mesh, and starts and
    stops them in order.

    Args:
        name: empty: the default namespace.
        upkeep: what the coordinator itself keeps in this store.
    """

    def __init__(self, store: Store, parts: CoordinatorParts, upkeep: Upkeep, name: str = "") -> None:
        self._settings, self.coordinator_id, self._tls, self._identity = parts[:4]
        self._once, self._name, self._tracer, exposure, self._audited = parts, name, *parts[4:7]
        self._edge, self.figures = self._identity.edge, MeshFigures(parts.settings.metrics_methods)
        tickets = None if self._identity.tickets is None else self._identity.tickets.within(name)
        self._agent_route = AgentRoute(parts.tls.channels, tickets)
        self._store, self._upkeep, settings = store, upkeep, parts.settings
        self._subscriptions, self._contracts = TaskSubscriptions(settings.max_watchers), Contracts()
        self.find_method = self._contracts.find
        self._contract_sync = ContractSync(
            self._store,
            self._contracts,
            forget_after_s=settings.forget_contracts_s,
            also_needed=self._submitted_methods,
        )
        policies = self._contracts.policies
        self._overrides = PolicyRows(self._store, "method-overrides", policies.set_overrides)
        self._operator_limits = PolicyRows(self._store, "queue-limits", policies.set_limits)
        self._run_limits = RunLimitSync(self._store, policies, settings.cancel_grace_s)
        self._register = AgentRegister(self._fleet_moved)
        self._resources = ResourceView(self._store, self._register)
        self._explainer = QueueExplainer(self._store, self._register, self._resources)
        self._index, self._forecast = SessionIndex(self._register.elsewhere), QueueForecast()
        self._planner = planner_of(settings.placement, self.figures.figures, strict=not name)
        self._usage, self._outcomes = self._make_counters()
        admission = ContractAdmission(self._store, self._contracts, self._register, self._run_limits.settle)
        self._sessions = Sessions(
            self._store,
            admission,
            settings,
            self.coordinator_id,
            listener=self,
            readers=self._subscriptions,
            outcomes=self._outcomes,
            tickets=tickets,
        )
        self._fleet_sync = FleetSync(
            self._store,
            self._register,
            self._sessions,
            hasten=self.fleet_changed,
            bring_contracts=self._contract_sync.bring,
            forget_after_s=settings.forget_agents_s,
            route=self._agent_route,
        )
        self.discovery = DiscoveryService(self._register, settings.max_watchers, settings.recovery_grace_s)
        self._direct = self._make_direct()
        self._fleet = FleetView(
            self._store, self._contracts, self._register, self._sessions, self._fleet_sync
        )
        self._dispatcher, self._unserved = self._make_dispatcher(), self._make_unserved()
        self._health = ServiceHealth(self._store, self._register, self._contracts, self._edge)
        self._submission_service = self._make_submissions(name)
        made = made_parts(self._tools(admission), self._identity.makers(name))
        self._logs, self._commands, hooks, self._parts = made
        # Where requests for its hooks go.
        self.hooks = hooks.intake
        self.figures.figures.ask(HOOK_REQUESTS, hooks.counts.totals)
        self._stats = StatsService(store, self.coordinator_id, exposure, self._identity.metering)
        self._sweeper = self._make_sweeper()

    def _make_sweeper(self) -> Sweeper:
        return Sweeper(
            self._store,
            wake=self.ready,
            lost=self._lease_lost,
            before_late=self._sessions.heartbeats.watch,
            housekeeping=self._keep_house,
            rests=self._has_no_work,
        )

    def _tools(self, admission: ContractAdmission) -> MeshTools:
        store, submissions = self._store, self._submission_service
        state = MeshState(
            store,
            self._contracts,
            admission,
            self._overrides,
            self._operator_limits,
            self._run_limits,
            self._fleet,
            submissions,
        )
        once = self._once, self._name, self.follow_ends
        own = self._sessions, self._register, state, self._usage, self._make_sticky(), *once
        return MeshTools(store, self._settings, self._edge, submissions, *own, self._explainer)

    def _make_sticky(self) -> StickyPart:
        common = self._store, self._register, self._settings, self._edge, self._fleet_sync.look_now
        part = StickyPart(*common, self.fleet_changed)
        self._submission_service.sticky = part.sessions
        self._direct.find_sessions_by(part.find)
        return part

    def _make_counters(self) -> tuple[UsagePart, AttemptOutcomes]:
        """What counts the ends of attempts, and what they have used."""
        usage = UsagePart(self._store, self._contracts, self.fleet_changed)
        outcomes = AttemptOutcomes(
            self._register.description,
            timed=self._is_unary,
            changed=self.session_changed,
            now=self._store.now,
            figures=self._store.figures,
            used=usage.keeper.meter,
        )
        outcomes.listener = self._planner
        return usage, outcomes

    def _make_direct(self) -> DirectCalls:
        parts = self.discovery.snapshots, self._contracts.find, self._settings.max_message_bytes
        observe = CallFigures(self.figures.figures, made=True).observe
        return DirectCalls(*parts, self._tracer, route=self._agent_route, observe=observe)

    def _make_dispatcher(self) -> Dispatcher:
        waits, passes = WaitSpans.of(self._tracer), self.figures.passes
        told = partial(Dispatcher, waits=waits, passes=passes, forecast=self._forecast)
        return told(self._store, self._index, planner=self._planner)

    def _make_submissions(self, name: str) -> SubmissionService:
        matching = Matching(self._store, self._register, self._fleet_sync.look_now)
        spans = SubmitSpans.of(self._tracer, shared=self._store.shared)
        meter = partial(self._identity.metering.namespace_meter, name)
        made = SubmissionService(self._store, self._contracts, matching, self._settings, spans, meter)
        made.budgets, made.trees = self._usage.keeper.book, self._usage.keeper.trees
        return made

    def _make_unserved(self) -> UnservedQueues:
        policies, look = self._contracts.policies, self._fleet_sync.look_now
        return UnservedQueues(self._store, self._register, policies, look, self._settings.fallback_grace_s)

    # -- events of the parts for each other -------------------------------------------------------------------------

    def _lease_lost(self, owner: Owner) -> None:
        self.figures.lease_lost()
        self._register.session_lost(owner)

    def _is_unary(self, method: str) -> bool:
        info = self._contracts.find(method)
        return info is not None and info.kind == fleet_pb2.METHOD_KIND_UNARY

    async def _submitted_methods(self) -> set[str]:
        """The methods of tasks that coordinators submit themselves."""
        return set().union(*[await part.methods() for part in self._parts])

    async def _keep_house(self, now_s: float) -> None:
        self._stats.tick(now_s)
        await self._upkeep.keep_house(now_s)
        if self._store.shared and self._store.fleet_moved:
            await self._contract_sync.load()
        await self._overrides.load()
        await self._operator_limits.load()
        await self._run_limits.run_once(now_s)
        self._outcomes.sweep(self._sessions.all(), now_s)
        await self._fleet_sync.run_once(now_s)
        await self._unserved.run_once(now_s)
        await self._contract_sync.forget(self._register.contracts, self._register.methods, now_s)
        for part in self._parts:
            await part.keep_house(now_s)

    def _fleet_moved(self) -> None:
        self.discovery.announce()
        self._health.changed()
        for part in self._parts:
            part.fleet_moved()

    # -- its services -----------------------------------------------------------------------------------------------

    def serve_on(self, routes: Routes) -> None:
        """Serve this mesh."""
        settings, explainer, edge, audited = self._settings, self._explainer, self._edge, self._audited
        submissions, subscriptions = self._submission_service, self._subscriptions
        known = self._store, self._register, self._contracts, explainer
        queues = Queues(*known, self._operator_limits, self._run_limits, self.ready)
        common = self._store, subscriptions, submissions, explainer
        service = CoordinatorService(
            TaskParts(*common, settings, audited, self._tracer),
            FleetParts(self._fleet, self.discovery, queues, self._resources, self._contracts),
            self._sessions,
            edge,
        )
        timing = CallFigures(self.figures.figures)
        own = MeshServices(
            service,
            MethodService(self._contracts, self._register, self._overrides, self._run_limits),
            self._stats,
            self._parts,
        )
        own.add_to(guard.Lenient(routes, audited.around(timing.timed_handler)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, routes)
        waiting = WaitingCalls(self._store, self._forecast)
        tasks = CallTasks(
            self._store, subscriptions, submissions, explainer, waiting, settings.cancel_grace_s
        )
        calls = DurableCalls(
            tasks, self._store, subscriptions, self._contracts, self._direct, settings, self._tracer
        )
        shown = [*filter(None, OWN_SERVICES), health.SERVICE]
        Reflection(self._contracts, shown, OWN_FILES).serve_on(routes)
        health.HealthLists(self._health).serve_on(routes)
        routes.others = audited.hosted(timing.timed(calls))
        counted = self._store, self._register, self._sessions, subscriptions, submissions
        self.figures.ask(CountedParts(*counted, calls.admission, self._forecast, self._direct.balancer))

    # -- lifecycle ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Recover the store."""
        await self._store.open(self._bound())

    async def start(self) -> None:
        """Be ready for work."""
        await self._contract_sync.load()
        await self._overrides.load()
        await self._operator_limits.load()
        await self._run_limits.start()
        await self._fleet_sync.start()
        self.discovery.start()
        self._sessions.start()
        self._dispatcher.start()
        self._sweeper.start()
        for part in self._parts:
            part.start()

    async def stop(self, why: WeftError | None = None) -> None:
        """Answer the waiting callers and end the sessions; each step is bounded. Tasks and results stay in the store.

        Args:
            why: what ends them. None: the coordinator is stopping.
        """
        self._health.stop()
        self._submission_service.stopping = True
        self._subscriptions.close(why or _stopping(_GOES_ON))
        # Before the sessions: their end here is no change of the agents.
        self.discovery.close(why or _stopping("the coordinator is stopping; resume from the last cursor"))
        for part in self._parts:
            await part.stop(why)
        await self._dispatcher.stop()
        # Before the streams close: an agent whose lease ends now is not lost, because it will come back.
        await self._sweeper.stop()
        await self._sessions.stop(why or _stopping("the coordinator is stopping; dial again"))
        await self._fleet_sync.stop()

    async def close(self) -> None:
        """End direct calls, and close the store. The port is closed."""
        await self._direct.close()
        try:
            async with asyncio.timeout(STORE_CLOSE_S):
                await self._store.close()
        except (TimeoutError, WeftError) as error:
            log.error("store.close_failed", error=str(error) or "it took too long")  # noqa: TRY400

    # -- what others ask it ---------------------------------------------------------------------------------------

    def unfinished(self) -> int:
        """Tasks that have not ended."""
        return self._store.unfinished()

    async def in_use(self) -> tuple[int, int]:
        """How many agents are connected, here or at another coordinator, and how many tasks have not ended: asked of the store."""
        await self._fleet_sync.look_now()
        depths = (await self._store.depths()).values()
        return sum(self._connected()), sum(each.queued + each.scheduled + each.running for each in depths)

    async def queues(self) -> tuple[Mapping[QueueKey, QueueDepth], Sequence[str], float]:
        """The depths of its queues, the methods that are paused, and the time by the store's clock."""
        return await self._store.depths(), await self._store.paused(), self._store.now()

    def _connected(self) -> Iterator[bool]:
        entries = map(self._register.get, list(self._register.ids()))
        return (True for each in entries if each is not None and each.connected)

    @property
    def rests(self) -> bool:
        """Whether there are no agents, no unfinished tasks, no schedules that go on, and no callbacks to come, and no pools."""
        kept = any(part.keeps_open for part in self._parts)
        return self._has_no_work() and self.next_pass_at is None and not kept

    def _has_no_work(self) -> bool:
        """Whether there are no agents, here or elsewhere, and no unfinished tasks: only what is stored can become due."""
        return not self.unfinished() and not any(self._connected())

    async def keeps_tasks(self) -> bool:
        """Whether it has tasks, also ended ones, which are to be forgotten when their time has passed."""
        return bool((await self._store.list_tasks(ListFilter(), limit=1)).records)

    def tell_tokens_changed(self) -> None:
        """Tell the agents that tokens have changed."""
        self._sessions.tell_tokens_changed()

    def takes_work(self, agent_id: str) -> bool:
        """Whether an agent is connected here and takes tasks."""
        session = self._sessions.get(agent_id)
        return session is not None and session.takes_work

    async def sweep(self) -> SweepReport:
        """Run a sweep now."""
        return await self._sweeper.run_once()

    @property
    def next_pass_at(self) -> float | None:
        """When something is due next in a part (a schedule's tick, a group's callback), by the store's clock; None: no time is known."""
        return min((part.next_at for part in self._parts if part.next_at is not None), default=None)

    async def run_passes(self) -> None:
        """Do what is due in the parts: submit the tasks of ticks that have come, and the callbacks of groups that have ended."""
        for part in self._parts:
            await part.run_due()
