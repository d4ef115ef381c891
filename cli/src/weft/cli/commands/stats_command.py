"""`weft stats`: what happened to the tasks of each method in the last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal import moments
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import Styled, StyledText, json_text, line, remark
from weft.cli.terminal.shares import share_text
from weft.cli.terminal.tables import Column, print_rows
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.client import CoordinatorStats, Mesh, MethodStats, Times
    from weft.rpc.security.tls import Tls

_COLUMNS = (
    Column("method", cut=True),
    Column("ended", right=True),
    Column("per s", right=True),
    Column("failed", right=True),
    Column("errors", right=True),
    Column("retried", right=True, spare=2),
    Column("rerun", right=True, spare=1),
    Column("wait p50", right=True, spare=4),
    Column("wait p99", right=True),
    Column("run p50", right=True, spare=3),
    Column("run p99", right=True),
)


@examples(
    "weft stats",
    "weft stats --method Greeter/Greet --window-s 60 --json",
    "weft stats --target c1:7700,c2:7700",
)
def stats(
    method: inputs.MethodFilter = "",
    window_s: Annotated[
        float,
        typer.Option("--window-s", metavar="S", min=10, max=300, help="How far back, in seconds: 10 to 300."),
    ] = 300.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show what happened to the tasks of each method in the last minutes: how many ended, how many failed, and how long they waited
    and ran.

    A coordinator counts what it does itself. If several share a store, name all of them by --target: each answers.
    errors is the share of attempts that failed, timed out, crashed or were lost. Times are p50 and p99, within about a tenth.
    """
    from weft.cli.process.command_runner import run
    from weft.client import Unreachable
    from weft.rpc.network import targets
    from weft.rpc.registries.resolved_targets import resolved

    async def work(mesh: Mesh) -> CoordinatorStats:
        return await mesh.stats(window_s=window_s)

    found: list[CoordinatorStats] = []
    given = targets.parse(target)
    addresses = resolved(given)
    tls = _named(given)
    for each in addresses:
        try:
            found.append(run(each, work, tls))
        except Unreachable as error:
            if len(addresses) == 1:
                raise
            remark(f"weft: {error.message}")
    if not found:
        raise Failure("no coordinator of the target answers")
    of = inputs.one_of(method, _methods(found)) if method else ""
    for answer in found:
        shown = [each for each in answer.methods if of in {"", each.method}]
        _print(replace(answer, methods=shown), as_json=as_json)
    if len(found) < len(addresses):
        raise typer.Exit(1)


def _named(given: Sequence[str]) -> Tls | None:
    """TLS to each coordinator that a source names: by the name of the service there. None: as options and variables say."""
    from weft.rpc.network.registry_url import source_url
    from weft.rpc.network.targets import is_source
    from weft.rpc.security.tls import chosen

    tls = chosen(None)
    if tls is None or tls.server_name or tls.pin or not is_source(given[0]):
        return None
    return replace(tls, server_name=source_url(given[0]).tls_name)


def _methods(found: list[CoordinatorStats]) -> set[str]:
    return {each.method for answer in found for each in answer.methods}


def _print(answer: CoordinatorStats, *, as_json: bool) -> None:
    from weft.cli.rendering.documents import stats_document

    if as_json:
        line(json_text(stats_document(answer)))
        return
    shared = "; other coordinators of its store have their own numbers" if answer.shared_store else ""
    line(Styled(f"coordinator {answer.coordinator_id}, last {moments.span(answer.covered_s)}{shared}", "dim"))
    rows = [_row(each, answer.covered_s) for each in answer.methods]
    print_rows(_COLUMNS, rows, "no tasks")


def _row(of: MethodStats, covered_s: float) -> list[StyledText]:
    return [
        names.short(of.method),
        str(of.ended),
        f"{of.ended / covered_s:.1f}",
        share_text(of.error_share),
        share_text(of.attempts.error_share),
        str(of.retried or ""),
        str(of.rerun or ""),
        *_times(of.wait),
        *_times(of.run),
    ]


def _times(times: Times) -> tuple[str, str]:
    if times.p50_s is None or times.p99_s is None:
        return "", ""
    return moments.span(times.p50_s), moments.span(times.p99_s)
