"""The names of spans' attributes and events, and of the attributes of a process.

Those without `weft.` are OpenTelemetry's: a test compares them with the published conventions.
"""

from __future__ import annotations

# -- calls: https://opentelemetry.io/docs/specs/semconv/rpc ---------------------------------------------------------------

RPC_SYSTEM_NAME = "rpc.system.name"
# The method's full name, such as "acme.v1.Analyst/Analyze".
RPC_METHOD = "rpc.method"
# The name of a google.rpc.Code, such as "NOT_FOUND".
RPC_RESPONSE_STATUS_CODE = "rpc.response.status_code"
ERROR_TYPE = "error.type"

GRPC = "grpc"

# -- tasks: https://opentelemetry.io/docs/specs/semconv/messaging -----------------------------------------------------------

MESSAGING_SYSTEM = "messaging.system"
MESSAGING_OPERATION_NAME = "messaging.operation.name"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
# The method: its tasks wait in one queue, or in several.
MESSAGING_DESTINATION_NAME = "messaging.destination.name"
# The task's id.
MESSAGING_MESSAGE_ID = "messaging.message.id"
MESSAGING_BATCH_MESSAGE_COUNT = "messaging.batch.message_count"

WEFT = "weft"
SEND, PROCESS = "send", "process"
SUBMIT = "submit"

# -- weft's own ---------------------------------------------------------------------------------------------------------------

TASK_ATTEMPT = "weft.task.attempt"
AGENT_ID = "weft.agent.id"
# Why a task runs again: "failed", "lost", "released" or "requested"; and the attempt before.
RERUN_CAUSE = "weft.rerun.cause"
RERUN_LAST_AGENT_ID = "weft.rerun.last_agent.id"
RERUN_LAST_STATUS_CODE = "weft.rerun.last_status_code"
# Of a call: its task, and whether that was there before, under the same request id.
TASK_ID = "weft.task.id"
TASK_EXISTED = "weft.task.existed"
# Events: the task is stored, its result is stored, an attempt is claimed; and in which store.
TASK_STORED = "weft.task.stored"
RESULT_STORED = "weft.result.stored"
STORE = "weft.store"

# -- a process: https://opentelemetry.io/docs/specs/semconv/resource/service ------------------------------------------------

SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"
SERVICE_INSTANCE_ID = "service.instance.id"
