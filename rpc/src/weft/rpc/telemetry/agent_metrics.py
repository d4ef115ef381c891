"""The metrics of an agent, a sidecar included."""

from __future__ import annotations

from weft.rpc.telemetry.coordinator_metrics import METHOD, REASON, STATE, TASK_BOUNDS_S
from weft.rpc.telemetry.figures import MetricSpec

ATTEMPTS = MetricSpec(
    "weft.agent.attempts.ended",
    "counter",
    "{attempt}",
    "Attempts that this agent ended, by reason: succeeded, failed, cancelled, timed_out, crashed or released.",
    (METHOD, REASON),
)
DURATION = MetricSpec(
    "weft.agent.attempt.duration",
    "histogram",
    "s",
    "How long handlers of attempts ran.",
    (METHOD,),
    TASK_BOUNDS_S,
)
SLOTS = MetricSpec(
    "weft.agent.slots", "gauge", "{slot}", "Slots, by state: durable, direct or free.", (STATE,)
)
WAITING = MetricSpec("weft.agent.attempts.waiting", "gauge", "{attempt}", "Attempts that wait for a slot.")
HELD = MetricSpec(
    "weft.agent.attempts.held",
    "gauge",
    "{attempt}",
    "Attempts whose end the coordinator has not acknowledged.",
)
OVERRUN = MetricSpec(
    "weft.agent.overrun.slots", "gauge", "{slot}", "Slots of handlers that ignore their cancellation."
)
CONNECTED = MetricSpec(
    "weft.agent.connected", "gauge", "{session}", "1 while a coordinator is connected, else 0."
)
EGRESS_CALLS = MetricSpec(
    "weft.egress.calls.waiting", "gauge", "{call}", "Calls of the sidecar's app that wait at the egress."
)
EGRESS_REFUSED = MetricSpec(
    "weft.egress.calls.refused",
    "counter",
    "{call}",
    "Calls of the sidecar's app that were refused: too many waited.",
)

AGENT_METRICS = (ATTEMPTS, DURATION, SLOTS, WAITING, HELD, OVERRUN, CONNECTED)
SIDECAR_METRICS = (EGRESS_CALLS, EGRESS_REFUSED)
