"""The agent library: host gRPC methods for a mesh, with servicers as they are generated.

    from weft.agent import Agent

    agent = Agent()
    agent.add_servicer(analyst_pb2_grpc.add_AnalystServicer_to_server, Analyst())

    if __name__ == "__main__":
        agent.run()

`Agent`
    hosts servicers (`add_servicer`) and functions (`method`), and runs: `run()`, or `await serve()`. Beside its handlers it
    runs `on_start`, `on_stop` and `background` functions, and `on_connect`, `on_disconnect` and `on_message` ones.
`Connected`, `Disconnected`
    what `on_connect` and `on_disconnect` functions may take.
`current_task()`
    inside a handler: the task behind it, a `RunningTask` with id, attempt, request id, deadline, `cancelled`, `state`, a `HeldState`, and
    `mesh`, a client of the agent's own mesh.
`log_fields()`, `task_log_processor`, `TaskLogFilter`
    task, attempt and trace on the lines of an application's own log; in the processes of `weft agent` they are there already.
`HostedFunction`
    what `@agent.method` makes of a function: still the function, and a handle with `submit`, `call` and `map`.
`MethodOptions`, `RetryPolicy`, `RunLimit`, `Lock`
    how calls of a method run: `@agent.method(name, retry=RetryPolicy(max_attempts=3), start_to_close_s=30)`.
`Sandbox`
    what an isolated handler may use and see: `@agent.method(name, isolate=Sandbox(memory_mb=512))`.
`Batch`
    calls that come close together are one call of a function of lists: `@agent.method(name, batch=Batch(max_size=32, wait_s=0.02))`.
    In a servicer, a `BatchQueue` does the same; a function that returns no list raises `BatchError`.
`ServicePackage`, `FileSettings`
    a service that other agents host by its name (`weft agent --with NAME`), and the base of its settings.
`AgentSettings`
    every setting, with its WEFT_AGENT_* variable.
`Tls`
    certificates: `Agent(tls=Tls(ca="ca.pem", cert="worker.pem", key="worker-key.pem"))`.
`Payloads`, `PayloadCodec`
    how coded calls are read and answered: `Agent(payloads=Payloads(keys_file="payload-keys"))`.
`HookError`, `HostingError`, `ListenError`, `LoadError`, `ProgramError`, `SandboxError`, `SettingsError`
    what can be wrong with the program itself; all are `WeftError`s.
`WeftError` and its subclasses
    the errors of calls, the same as in `weft.client`: a handler's module imports everything from here.
"""

import weft.rpc  # noqa: F401 - before anything that loads gRPC
from weft.rpc.process.extras import require

require("agent")

from weft.agent.agent import Agent
from weft.agent.errors import (
    HookError,
    HostingError,
    ListenError,
    LoadError,
    ProgramError,
    SandboxError,
    SettingsError,
)
from weft.agent.handlers.batches import Batch, BatchError, BatchQueue
from weft.agent.handlers.current_call import CancelSignal, RunningTask, current_task
from weft.agent.handlers.handler_logs import TaskLogFilter, log_fields, task_log_processor
from weft.agent.handlers.keyed_state import HeldState
from weft.agent.hosting.hosted_function import HostedFunction
from weft.agent.member_hooks import Connected, Disconnected
from weft.agent.program.service_packages import ServicePackage
from weft.agent.sandboxing.sandbox import Sandbox
from weft.agent.settings import AgentSettings
from weft.rpc.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    Failed,
    FailedPrecondition,
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
from weft.rpc.process.file_settings import FileSettings
from weft.rpc.process.version import VERSION
from weft.rpc.security.tls import Tls
from weft.rpc.task_policy.method_options import Lock, MethodOptions, RunLimit
from weft.rpc.task_policy.retry_policy import RetryPolicy

__version__ = VERSION

__all__ = [
    "Aborted",
    "Agent",
    "AgentSettings",
    "AlreadyExists",
    "Batch",
    "BatchError",
    "BatchQueue",
    "CancelSignal",
    "Cancelled",
    "Connected",
    "DataLoss",
    "DeadlineExceeded",
    "Disconnected",
    "Failed",
    "FailedPrecondition",
    "FileSettings",
    "FixRequest",
    "HeldState",
    "HookError",
    "HostedFunction",
    "HostingError",
    "Internal",
    "InvalidArgument",
    "LimitReached",
    "ListenError",
    "LoadError",
    "Lock",
    "MethodOptions",
    "NotFound",
    "Overloaded",
    "PayloadCodec",
    "Payloads",
    "PermissionDenied",
    "ProgramError",
    "ResourceExhausted",
    "RetryLater",
    "RetryPolicy",
    "RunLimit",
    "RunningTask",
    "Sandbox",
    "SandboxError",
    "ServicePackage",
    "SettingsError",
    "TaskLogFilter",
    "Tls",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "WeftError",
    "current_task",
    "log_fields",
    "task_log_processor",
]
