"""Parts of queries. What is counted at coordinators is summed; queues are the whole store's: their maximum is taken."""

from __future__ import annotations

from scripts.dashboards.form import Query

RATE = "[$__rate_interval]"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{where}}}{RATE})))"


def half_and_most(metric: str, where: str = "") -> tuple[Query, ...]:
    return (
        Query(quantile(0.5, metric, "", where), "half"),
        Query(quantile(0.99, metric, "", where), "99 %"),
    )
