"""The client library of weft.

    from weft.client import connect, methods

    async with connect("127.0.0.1:7700") as mesh:
        # A generated stub: the call is durable.
        reply = await AnalystStub(mesh.channel()).Analyze(request, timeout=60)

        # The same as a task.
        analyst = methods(AnalystStub)
        handle = await mesh.tasks.submit(analyst.Analyze, request, priority=7)
        reply = await handle.result(timeout_s=60)

        # Many.
        async for done in mesh.tasks.run_many(analyst.Analyze, requests):
            print(done.index, done.result())

A caller imports everything from here: the errors too, whose tree `weft.rpc.errors` draws. `weft.client.sync` is the same without
asyncio; `weft.agent` is for programs that host methods.
"""

from importlib import import_module
from typing import TYPE_CHECKING

import weft.rpc  # noqa: F401 - before anything that loads gRPC
from weft.client.agent_snapshot import AgentInfo, AgentState, DesiredState, DirectState
from weft.client.agent_stacks import AgentStacks, ChildProcess, ProgramStack, StackFrame, StackKind
from weft.client.api import Unreachable
from weft.client.budgets import Budget, Budgets
from weft.client.bulk_progress import BulkProgress
from weft.client.fleet import Fleet, Queue
from weft.client.fleet_calls import AgentOutcome
from weft.client.group_handle import GroupHandle
from weft.client.groups import Group, Groups, Then
from weft.client.keyed_states import KeyedState, KeyedStates
from weft.client.mesh import Mesh, connect
from weft.client.mesh_tokens import NewToken, Token, Tokens, TokenScope
from weft.client.method_overrides import Methods, MethodView
from weft.client.methods import Method, methods
from weft.client.options import SubmitOptions, call_options
from weft.client.pools import (
    Autoscale,
    MemberState,
    Pool,
    PoolMember,
    PoolProvider,
    Pools,
    PoolState,
    PoolTemplate,
    Rollout,
)
from weft.client.resource_snapshot import LockState, LockTask, Resources, ResourceUse
from weft.client.schedules import (
    Cron,
    Every,
    Once,
    OverlapPolicy,
    Schedule,
    ScheduleOptions,
    Schedules,
    Tick,
    TickOutcome,
)
from weft.client.selected_agents import CommandOutcome, GarbageCollection, SelectedAgents
from weft.client.stats_snapshot import AttemptCounts, CoordinatorStats, LimitedCaller, MethodStats, Times
from weft.client.sticky_session import StickySession, StickySessionInfo
from weft.client.task_handle import TaskHandle
from weft.client.task_log import LogLine, MissingLog, MissingLogReason
from weft.client.task_snapshot import Attempt, Progress, Task, TaskState, WaitReason
from weft.client.tasks import Finished, Tasks
from weft.client.tasks_by_id import TasksById
from weft.client.trace_export import export_traces
from weft.client.usage_snapshot import Usage, UsageReport
from weft.rpc.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    Failed,
    FailedPrecondition,
    FieldViolation,
    FixRequest,
    Internal,
    InvalidArgument,
    LimitReached,
    NotFound,
    Overloaded,
    PermissionDenied,
    ResourceExhausted,
    RetryLater,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
    WeftError,
)
from weft.rpc.payloads.payload_options import PayloadCodec, Payloads
from weft.rpc.process.home_loop import MeshClosed, WrongEventLoop
from weft.rpc.process.version import VERSION
from weft.rpc.security.tls import Tls
from weft.rpc.task_policy.method_options import Lock, RunLimit
from weft.rpc.task_policy.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from weft.client.event_subscriptions import ConsumedEvent, Subscription, Subscriptions
    from weft.client.events import Event, Events, NewEvent, Published, Topic
    from weft.client.mesh_namespaces import MeshNamespaces, NamespaceInfo
    from weft.client.webhooks import HookKind, HookSigning, HookSource, HookTest, NewSecret, Webhook, Webhooks

__version__ = VERSION

# What not every client needs is imported when it is asked for.
_LATER = {
    **dict.fromkeys(("Event", "Events", "NewEvent", "Published", "Topic"), "events"),
    **dict.fromkeys(("ConsumedEvent", "Subscription", "Subscriptions"), "event_subscriptions"),
    **dict.fromkeys(("MeshNamespaces", "NamespaceInfo"), "mesh_namespaces"),
    **dict.fromkeys(
        ("HookKind", "HookSigning", "HookSource", "HookTest", "NewSecret", "Webhook", "Webhooks"), "webhooks"
    ),
}


def __getattr__(name: str) -> object:
    if (module := _LATER.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


__all__ = [
    "Aborted",
    "AgentInfo",
    "AgentOutcome",
    "AgentStacks",
    "AgentState",
    "AlreadyExists",
    "Attempt",
    "AttemptCounts",
    "Autoscale",
    "Budget",
    "Budgets",
    "BulkProgress",
    "Cancelled",
    "ChildProcess",
    "CommandOutcome",
    "ConsumedEvent",
    "CoordinatorStats",
    "Cron",
    "DataLoss",
    "DeadlineExceeded",
    "DesiredState",
    "DirectState",
    "Event",
    "Events",
    "Every",
    "Failed",
    "FailedPrecondition",
    "FieldViolation",
    "Finished",
    "FixRequest",
    "Fleet",
    "GarbageCollection",
    "Group",
    "GroupHandle",
    "Groups",
    "HookKind",
    "HookSigning",
    "HookSource",
    "HookTest",
    "Internal",
    "InvalidArgument",
    "KeyedState",
    "KeyedStates",
    "LimitReached",
    "LimitedCaller",
    "Lock",
    "LockState",
    "LockTask",
    "LogLine",
    "MemberState",
    "Mesh",
    "MeshClosed",
    "MeshNamespaces",
    "Method",
    "MethodStats",
    "MethodView",
    "Methods",
    "MissingLog",
    "MissingLogReason",
    "NamespaceInfo",
    "NewEvent",
    "NewSecret",
    "NewToken",
    "NotFound",
    "Once",
    "OverlapPolicy",
    "Overloaded",
    "PayloadCodec",
    "Payloads",
    "PermissionDenied",
    "Pool",
    "PoolMember",
    "PoolProvider",
    "PoolState",
    "PoolTemplate",
    "Pools",
    "ProgramStack",
    "Progress",
    "Published",
    "Queue",
    "ResourceExhausted",
    "ResourceUse",
    "Resources",
    "RetryLater",
    "RetryPolicy",
    "Rollout",
    "RunLimit",
    "Schedule",
    "ScheduleOptions",
    "Schedules",
    "SelectedAgents",
    "StackFrame",
    "StackKind",
    "StickySession",
    "StickySessionInfo",
    "SubmitOptions",
    "Subscription",
    "Subscriptions",
    "Task",
    "TaskHandle",
    "TaskState",
    "Tasks",
    "TasksById",
    "Then",
    "Tick",
    "TickOutcome",
    "Times",
    "Tls",
    "Token",
    "TokenScope",
    "Tokens",
    "TooLarge",
    "Topic",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Unreachable",
    "Usage",
    "UsageReport",
    "WaitReason",
    "Webhook",
    "Webhooks",
    "WeftError",
    "WrongEventLoop",
    "call_options",
    "connect",
    "export_traces",
    "methods",
]
