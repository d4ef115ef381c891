"""The client library without asyncio.

    from weft.client import methods
    from weft.client.sync import connect

    with connect("127.0.0.1:7700") as mesh:
        # A generated stub: the call is durable.
        reply = AnalystStub(mesh.channel()).Analyze(request, timeout=60)

        # The same as a task.
        analyst = methods(AnalystStub)
        handle = mesh.tasks.submit(analyst.Analyze, request, priority=7)
        reply = handle.result(timeout_s=60)

        # Many. The requests may come from a generator; a thread reads it.
        for done in mesh.tasks.run_many(analyst.Analyze, requests):
            print(done.index, done.result())

It has all of `weft.client`, with the same arguments, results and errors: the same code runs on an event loop in a
background thread, one for each process. Any thread may use a mesh, also where an event loop runs already, as in a
notebook. Ctrl-C ends a wait. An iterator reads up to 64 items ahead; close it, or drop it, to end it. Callbacks
(`request_id`, `stored`) run in the library's thread and must not call the library. After a fork the child cannot use
the library: it gets an error.
"""

import weft.rpc  # noqa: F401 - before anything that loads gRPC
from weft.client.sync.background_loop import WrongProcess, WrongThread
from weft.client.sync.sync_direct_calls import SyncDirect
from weft.client.sync.sync_event_subscriptions import SyncSubscriptions
from weft.client.sync.sync_events import SyncEvents
from weft.client.sync.sync_fleet import SyncFleet
from weft.client.sync.sync_group_handle import SyncGroupHandle
from weft.client.sync.sync_groups import SyncGroups
from weft.client.sync.sync_mesh import SyncMesh, connect
from weft.client.sync.sync_mesh_namespaces import SyncMeshNamespaces
from weft.client.sync.sync_mesh_tokens import SyncTokens
from weft.client.sync.sync_method_overrides import SyncMethods
from weft.client.sync.sync_pools import SyncPools
from weft.client.sync.sync_schedules import SyncSchedules
from weft.client.sync.sync_selected_agents import SyncSelectedAgents
from weft.client.sync.sync_task_handle import SyncTaskHandle
from weft.client.sync.sync_tasks import SyncTasks
from weft.client.sync.sync_tasks_by_id import SyncTasksById
from weft.client.sync.sync_webhooks import SyncWebhooks

__all__ = [
    "SyncDirect",
    "SyncEvents",
    "SyncFleet",
    "SyncGroupHandle",
    "SyncGroups",
    "SyncMesh",
    "SyncMeshNamespaces",
    "SyncMethods",
    "SyncPools",
    "SyncSchedules",
    "SyncSelectedAgents",
    "SyncSubscriptions",
    "SyncTaskHandle",
    "SyncTasks",
    "SyncTasksById",
    "SyncTokens",
    "SyncWebhooks",
    "WrongProcess",
    "WrongThread",
    "connect",
]
