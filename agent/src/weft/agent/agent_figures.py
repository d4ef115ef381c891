"""An agent's figures: attempts and direct calls by method, slots, and what its other parts keep; and the endpoint that exports them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from weft.agent.gauges import Gauges
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.handlers.slots import Slots
from weft.agent.session.attempt import HeldAttempt
from weft.agent.session.host_metering import ask_host
from weft.agent.session.outbox import Outbox
from weft.rpc.balancing.balancer import Balancer
from weft.rpc.balancing.balancer_figures import ask_balancers
from weft.rpc.calls.admission import Admission
from weft.rpc.identity.http_door import HttpDoor
from weft.rpc.identity.judges import Judge
from weft.rpc.security.tls import Tls
from weft.rpc.telemetry import agent_metrics as metrics
from weft.rpc.telemetry import host_metrics
from weft.rpc.telemetry.call_figures import CallFigures
from weft.rpc.telemetry.figures import Counter, Figures, Histogram, Labels
from weft.rpc.telemetry.metrics_endpoint import MetricsEndpoint
from weft.rpc.telemetry.process_metering import Denied, ask_denied, ask_process
from weft.v1 import task_pb2

# google.rpc.Code: OK, CANCELLED, DEADLINE_EXCEEDED.
_REASONS = {0: "succeeded", 1: "cancelled", 4: "timed_out"}
_FAULTS = ("failed", "timed_out", "crashed")
_ALL_REASONS = (*_REASONS.values(), "failed", "crashed", "released")


class AgentFigures:
    """The figures of one agent.

    Args:
        address: where Prometheus scrapes them; empty: nowhere.
    """

    def __init__(self, address: str = "", tls: Tls | None = None) -> None:
        self.figures = Figures()
        self.calls = CallFigures(self.figures)
        self.calls_made = CallFigures(self.figures, made=True)
        self._attempts = self.figures.counters(metrics.ATTEMPTS)
        self._durations = self.figures.histograms(metrics.DURATION)
        # By method: ends by reason, of these the successes, and how long attempts took.
        self._methods: dict[str, tuple[dict[str, Counter], Counter, Histogram]] = {}
        self._endpoint = MetricsEndpoint(self.figures, address, tls) if address else None
        self._balancers: Callable[[], Sequence[Balancer]] = list
        self._egress: Balancer | None = None
        # The addresses of the process' ports for operators: a forked child must not keep them.
        self.listening: Sequence[str] = ()
        ask_balancers(self.figures, self._all_balancers)
        ask_host(self.figures)
        ask_process(self.figures)
        # Who scrapes must show a token.
        self._shut = False
        # Refused calls of its ports, by their names.
        self.denied: dict[str, Denied] = {}
        ask_denied(self.figures, self.denied)

    def ended(
        self, attempt: HeldAttempt, outcome: task_pb2.Outcome, *, crashed: bool, began_s: float | None
    ) -> None:
        """An attempt has ended. From any thread.

        Args:
            began_s: when its handler began, by the monotonic clock; None: it did not.
        """
        assignment = attempt.assignment
        method = assignment.method
        reasons, succeeded, durations = self._methods.get(method) or self._of(method)
        code = outcome.status.code
        if not code and not crashed:
            succeeded.value += 1
        else:
            reasons["crashed" if crashed else _REASONS.get(code, "failed")].value += 1
        if began_s is not None:
            took_s = time.monotonic() - began_s
            if traceparent := assignment.context.traceparent:
                durations.observe_traced(took_s, traceparent)
            else:
                durations.observe(took_s)

    def released(self, attempt: HeldAttempt) -> None:
        """An attempt was given back. From any thread."""
        self._of(attempt.assignment.method)[0]["released"].value += 1

    def ends(self) -> tuple[float, float]:
        """Calls and attempts that have ended so far, and those of them that failed by a fault of this agent."""
        reasons = [reasons for reasons, _, _ in list(self._methods.values())]
        faults = sum(found[reason].value for found in reasons for reason in _FAULTS)
        ended = sum(counter.value for found in reasons for counter in found.values())
        return ended + self.calls.count, faults + self.calls.faults

    def _of(self, method: str) -> tuple[dict[str, Counter], Counter, Histogram]:
        found = self._methods.get(method)
        if found is None:
            # As many as are hosted, and no more than the bound on methods besides.
            label = self.figures.names.label(method)
            reasons = {reason: self._attempts.of(label, reason) for reason in _ALL_REASONS}
            found = self._methods[label] = reasons, reasons[_REASONS[0]], self._durations.of(label)
        return found

    # -- exports ------------------------------------------------------------------------------------------------------

    def ask(self, slots: Slots, outbox: Outbox, clients: MeshClients, connected: Callable[[], bool]) -> None:
        """Ask these parts at each reading."""

        def by_state() -> Iterator[tuple[Labels, float]]:
            durable, direct = slots.durable, slots.direct
            yield ("durable",), durable
            yield ("direct",), direct
            yield ("free",), max(0, slots.total - durable - direct)

        self.figures.ask(metrics.SLOTS, by_state)
        self.figures.ask(metrics.WAITING, lambda: slots.waiting)
        self.figures.ask(metrics.HELD, lambda: outbox.count)
        self.figures.ask(metrics.OVERRUN, lambda: slots.overruns.slots)
        self.figures.ask(metrics.CONNECTED, lambda: int(connected()))
        self._balancers = lambda: clients.balancers

    def ask_gauges(self, gauges: Gauges) -> None:
        """Ask the application's gauges, too."""
        self.figures.ask(host_metrics.CUSTOM, gauges.points)

    def ask_egress(self, calls: Admission, balancer: Balancer) -> None:
        """Ask a sidecar's egress, too."""
        self._egress = balancer
        self.figures.ask(metrics.EGRESS_CALLS, lambda: calls.calls)
        self.figures.ask(metrics.EGRESS_REFUSED, lambda: calls.refused)

    def _all_balancers(self) -> Sequence[Balancer]:
        own = self._balancers()
        return own if self._egress is None else [*own, self._egress]

    @property
    def address(self) -> str:
        """Where they are scraped; empty: nowhere."""
        return "" if self._endpoint is None else self._endpoint.address

    def shut(self) -> None:
        """Let nobody scrape until `judge_scrapes`."""
        if self._endpoint is not None:
            self._endpoint.admit = lambda _authorization, _peer: (503, "the agent is starting")
        self._shut = True

    def judge_scrapes(self, judge: Judge) -> None:
        """Let those alone scrape whom a judge lets in, if they must show tokens. On the judge's event loop."""
        if self._endpoint is not None and self._shut:
            door = HttpDoor(judge, "metrics")
            door.open()
            self._endpoint.admit = door.refusal
            self.denied["metrics"] = door.refused.counts

    def bind(self) -> None:
        """Open the endpoint, if there is one.

        Raises:
            OperatorsBindError: its address cannot be used.
        """
        if self._endpoint is not None:
            self._endpoint.start()

    def close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
