"""The figures of balancers, asked for when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from weft.rpc.balancing.balancer import Balancer
from weft.rpc.telemetry import balancer_metrics as metrics
from weft.rpc.telemetry.figures import Figures, Labels


def ask_balancers(figures: Figures, balancers: Callable[[], Iterable[Balancer]]) -> None:
    """Export the figures of these balancers together; the list may be another one at each reading."""

    def refused() -> Iterator[tuple[Labels, float]]:
        found = [each.stats for each in balancers()]
        yield ("no_agent",), sum(each.no_agent for each in found)
        yield ("bound",), sum(each.bound_refusals for each in found)
        yield ("retry_budget",), sum(each.budget_refusals for each in found)

    def endpoints() -> Iterator[tuple[Labels, float]]:
        found = [each for balancer in balancers() for each in balancer.endpoints()]
        ejected = sum(each.record.ejected for each in found)
        yield ("available",), len(found) - ejected
        yield ("ejected",), ejected

    figures.ask(metrics.PICKS, lambda: sum(sum(list(each.stats.picks.values())) for each in balancers()))
    figures.ask(metrics.RETRIES, lambda: sum(each.stats.retries for each in balancers()))
    figures.ask(metrics.EJECTIONS, lambda: sum(each.stats.ejections for each in balancers()))
    figures.ask(metrics.REFUSED, refused)
    figures.ask(
        metrics.OUTSTANDING,
        lambda: sum(endpoint.in_flight for each in balancers() for endpoint in each.endpoints()),
    )
    figures.ask(metrics.ENDPOINTS, endpoints)
