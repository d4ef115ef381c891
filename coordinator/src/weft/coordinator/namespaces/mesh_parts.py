"""Makes the parts of a mesh: what it does besides running tasks. A new one is added here."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from weft.coordinator.alerts.alert_part import AlertPart, AlertSources
from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.commands.command_part import CommandPart
from weft.coordinator.events.event_part import EventPart
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.groups.group_part import GroupPart
from weft.coordinator.hooks.hook_part import HookPart
from weft.coordinator.hooks.hook_tools import HookTools, hook_secrets
from weft.coordinator.identity.makers import Makers
from weft.coordinator.keyed_states.keyed_state_part import KeyedStatePart
from weft.coordinator.lifecycle.lifecycle_part import FollowEnds, LifecyclePart
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.namespaces.coordinator_parts import CoordinatorParts
from weft.coordinator.pools.pool_part import PoolHome, PoolPart
from weft.coordinator.schedules.schedule_part import SchedulePart
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.state.hook_copy import HookCopies
from weft.coordinator.state.state_part import StatePart
from weft.coordinator.state.state_writer import MeshState, StateMakers
from weft.coordinator.steps.step_part import StepPart
from weft.coordinator.sticky.sticky_part import StickyPart
from weft.coordinator.store.base import Store
from weft.coordinator.task_logs.log_part import LogPart
from weft.coordinator.usage.usage_part import UsagePart
from weft.rpc.identity.edge import Edge
from weft.v1 import lifecycle_pb2

# Of weft's own topics.
GROUP_ENDED = lifecycle_pb2.GroupEnded.DESCRIPTOR.full_name


class MeshTools(NamedTuple):
    """What parts are made with. `name`: of the namespace; empty: the default one."""

    store: Store
    settings: CoordinatorSettings
    edge: Edge
    submissions: SubmissionService
    sessions: Sessions
    register: AgentRegister
    state: MeshState
    usage: UsagePart
    sticky: StickyPart
    once: CoordinatorParts
    name: str
    follow_ends: FollowEnds
    explainer: QueueExplainer


def made_parts(
    tools: MeshTools, makers: Makers
) -> tuple[LogPart, CommandPart, HookPart, tuple[MeshPart, ...]]:
    """The logs and the commands, which sessions answer to, the hooks, and all parts, in the order in which they start and stop."""
    (
        store,
        settings,
        edge,
        submissions,
        sessions,
        register,
        state,
        usage,
        sticky,
        once,
        name,
        follow_ends,
        explainer,
    ) = tools
    logs = LogPart(store, sessions, register, settings, edge)
    commands = CommandPart(store, sessions, register, state.fleet, settings, edge)
    schedules = SchedulePart(store, submissions, settings.cancel_grace_s, edge, makers)
    groups = GroupPart(store, submissions, settings, edge, makers)
    events = EventPart(store, state.contracts, submissions, settings, edge, makers)
    lifecycle = LifecyclePart(store, register, events.feeds, once.coordinator_id, follow_ends)
    budgets, old_s = usage.keeper.book, settings.alert_queue_s
    sources = AlertSources(register, explainer, budgets, lifecycle.wants, old_s)
    alerts = AlertPart(store, sources, once.coordinator_id)
    groups.tell_ends(partial(lifecycle.wants, GROUP_ENDED))
    hooks = _hooks(tools, makers)
    events.deliver_of_hooks(hooks.outgoing.hooks.delivery)
    home = PoolHome(settings, once.coordinator_id, once.identity, once.address, name)
    pools = PoolPart(store, register, sessions, home, lifecycle.publish)
    makers_of_state = StateMakers(pools.creation, usage.keeper, HookCopies(hooks.tools, hooks.outgoing))
    state_part = StatePart(state, makers_of_state, edge, settings.stalled_stream_s)
    keyed_states = KeyedStatePart(store, settings.max_state_bytes, edge)
    parts = (
        logs,
        commands,
        schedules,
        groups,
        lifecycle,
        events,
        hooks,
        hooks.outgoing,
        pools,
        state_part,
        keyed_states,
        usage,
        alerts,
        sticky,
        StepPart(store, edge),
    )
    return logs, commands, hooks, parts


def _hooks(tools: MeshTools, makers: Makers) -> HookPart:
    return HookPart(
        HookTools(
            tools.store,
            tools.state.contracts,
            tools.submissions,
            tools.sessions,
            tools.settings,
            hook_secrets(tools.settings),
            tools.edge,
            makers,
            tools.once.coordinator_id,
            tools.name,
        )
    )
