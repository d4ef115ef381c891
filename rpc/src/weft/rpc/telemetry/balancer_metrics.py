"""The metrics of balancers: of all direct channels of a process together."""

from __future__ import annotations

from weft.rpc.telemetry.figures import MetricSpec

PICKS = MetricSpec(
    "weft.balancer.picks", "counter", "{pick}", "Agents chosen for direct calls, retries included."
)
RETRIES = MetricSpec(
    "weft.balancer.retries", "counter", "{pick}", "Direct calls tried again at another agent."
)
EJECTIONS = MetricSpec(
    "weft.balancer.ejections",
    "counter",
    "{ejection}",
    "Agents ejected because their calls failed more than others'.",
)
REFUSED = MetricSpec(
    "weft.balancer.refused",
    "counter",
    "{call}",
    "Direct calls that were not made, by reason: no_agent, bound (each agent is at its bound) or retry_budget.",
    ("reason",),
)
OUTSTANDING = MetricSpec(
    "weft.balancer.outstanding", "gauge", "{slot}", "Slots that unanswered direct calls of this process use."
)
ENDPOINTS = MetricSpec(
    "weft.balancer.endpoints",
    "gauge",
    "{agent}",
    "Agents known for direct calls, by state: available or ejected.",
    ("state",),
)

BALANCER_METRICS = (PICKS, RETRIES, EJECTIONS, REFUSED, OUTSTANDING, ENDPOINTS)
