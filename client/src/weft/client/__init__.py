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

Errors are those of `weft.rpc.errors`.
"""

import weft.rpc  # noqa: F401 - before anything that loads gRPC
from weft.client.api import Unreachable
from weft.client.fleet import AgentInfo, AgentState, DesiredState, DirectState, Fleet, Queue
from weft.client.mesh import Mesh, connect
from weft.client.methods import Method, methods
from weft.client.options import RetryPolicy, call_options
from weft.client.task_handle import TaskHandle
from weft.client.task_snapshot import Attempt, Progress, Task, TaskState, WaitReason
from weft.client.tasks import Finished, Tasks
from weft.rpc.errors import WeftError
from weft.rpc.process.home_loop import WrongEventLoop
from weft.rpc.process.version import VERSION

__version__ = VERSION

__all__ = [
    "AgentInfo",
    "AgentState",
    "Attempt",
    "DesiredState",
    "DirectState",
    "Finished",
    "Fleet",
    "Mesh",
    "Method",
    "Progress",
    "Queue",
    "RetryPolicy",
    "Task",
    "TaskHandle",
    "TaskState",
    "Tasks",
    "Unreachable",
    "WaitReason",
    "WeftError",
    "WrongEventLoop",
    "call_options",
    "connect",
    "methods",
]
