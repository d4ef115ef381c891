"""The catalogue of weft's refusals: one function for each reason of `weft.v1.ErrorReason`, with the reason's name.

Every error of weft's own with a reason is made here, so that a reason always has the same class, code and metadata. The class
says what a caller can do about it, see `weft.rpc.errors`; weft's own clients repeat a call that ends with `RetryLater`. Errors
that no other process sees (an agent that cannot be loaded, a wrong event loop) are classes in their own modules, without a reason.

A message says what happened, to what, why, and what to do.
"""

from weft.rpc.refusals.agent_refusals import (
    agent_id_in_use,
    agent_not_found,
    app_unavailable,
    contract_incompatible,
    contract_invalid,
    handler_failed,
    isolated_process_died,
    no_agent,
    no_agent_matches,
    options_conflict,
    session_lost,
    session_protocol,
    session_superseded,
)
from weft.rpc.refusals.group_refusals import (
    group_closed,
    group_exists,
    group_not_found,
    group_unfinished,
)
from weft.rpc.refusals.request_refusals import (
    invalid_field,
    method_not_durable,
    method_not_hosted,
    method_unknown,
    not_implemented,
    payload_malformed,
    payload_too_large,
    request_id_reused,
    rules_violated,
)
from weft.rpc.refusals.schedule_refusals import (
    schedule_exists,
    schedule_not_found,
)
from weft.rpc.refusals.server_refusals import (
    RETRY_AFTER_S,
    STOPPING_RETRY_S,
    call_deadline,
    internal,
    limit_reached,
    metadata_left_out,
    overloaded,
    stopping,
    store_unavailable,
    unreachable,
)
from weft.rpc.refusals.task_refusals import (
    cancelled,
    crash_loop,
    progress_limit,
    result_expired,
    result_rules_violated,
    result_too_large,
    stream_restarted,
    task_not_found,
    task_state,
    time_limit,
)

__all__ = [
    "RETRY_AFTER_S",
    "STOPPING_RETRY_S",
    "agent_id_in_use",
    "agent_not_found",
    "app_unavailable",
    "call_deadline",
    "cancelled",
    "contract_incompatible",
    "contract_invalid",
    "crash_loop",
    "group_closed",
    "group_exists",
    "group_not_found",
    "group_unfinished",
    "handler_failed",
    "internal",
    "invalid_field",
    "isolated_process_died",
    "limit_reached",
    "metadata_left_out",
    "method_not_durable",
    "method_not_hosted",
    "method_unknown",
    "no_agent",
    "no_agent_matches",
    "not_implemented",
    "options_conflict",
    "overloaded",
    "payload_malformed",
    "payload_too_large",
    "progress_limit",
    "request_id_reused",
    "result_expired",
    "result_rules_violated",
    "result_too_large",
    "rules_violated",
    "schedule_exists",
    "schedule_not_found",
    "session_lost",
    "session_protocol",
    "session_superseded",
    "stopping",
    "store_unavailable",
    "stream_restarted",
    "task_not_found",
    "task_state",
    "time_limit",
    "unreachable",
]
