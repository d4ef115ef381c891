"""`weft doctor`: checks this machine, the coordinators, the agents and the queues, and says what to do."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target, checked_target
from weft.cli.terminal.output import Styled, json_text, line
from weft.cli.terminal.tables import print_indented

if TYPE_CHECKING:
    from weft.cli.doctor.diagnosis import Diagnosis

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_INDENT = 9


@examples(
    "weft doctor",
    "weft doctor --target coordinator.example:7700 --store redis://redis.example:6379/0",
    "weft doctor --channelz 10.0.0.1:9465,10.0.0.2:9465",
    "weft doctor --json",
)
def doctor(
    target: Target = DEFAULT_TARGET,
    store: Annotated[
        str,
        typer.Option(
            metavar="URL|FILE",
            help="Also check this store as a coordinator would use it: a Redis URL, or a file.",
        ),
    ] = "",
    channelz: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Also look at the connections of the processes that serve channelz there; several are separated by commas.",
            callback=checked_target,
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Check this machine, the coordinators, their agents and queues, and say what to do. Status 1: something does not work."""
    from weft.rpc.process import event_loops

    found = event_loops.run(_examine(target, store, channelz))
    if as_json:
        line(json_text([each.document() for each in found]))
    else:
        _show(found)
    if any(each.level == "problem" for each in found):
        raise typer.Exit(1)


def _show(found: list[Diagnosis]) -> None:
    for each in found:
        words = (Styled(f"{each.level:<{_INDENT}}", _STYLES[each.level]), f"{each.subject}: {each.text}")
        print_indented(words, _INDENT, f"→ {each.do}" if each.do else "")
    line(", ".join(_counted(found, level) for level in ("problem", "warning")))


def _counted(found: list[Diagnosis], level: str) -> str:
    count = sum(each.level == level for each in found)
    return f"{count} {level}" + ("" if count == 1 else "s")


async def _examine(target: str, store: str, channelz: str) -> list[Diagnosis]:
    from weft.cli.doctor import (
        audit_checks,
        authority_checks,
        channelz_checks,
        environment_checks,
        mesh_checks,
        store_checks,
        target_checks,
        tls_checks,
        token_checks,
    )
    from weft.cli.process.command_runner import by_proxy
    from weft.cli.process.unread_variables import warnings
    from weft.client import connect
    from weft.rpc.network import targets
    from weft.rpc.network.channel import Route
    from weft.rpc.registries.resolved_targets import resolved
    from weft.rpc.security.channel_credentials import channel_security

    use_proxy = by_proxy()
    unread = tuple(text.removeprefix("weft: warning: ") for text in warnings(os.environ))
    around = environment_checks.facts(uses_proxy=use_proxy, unread=unread)
    found = list(environment_checks.findings(around))
    if store:
        found += await store_checks.findings(store)
    tls, about_tls = tls_checks.settings(target)
    found += about_tls
    if any(each.level == "problem" for each in about_tls):
        return found
    route = Route(use_proxy, channel_security(tls))
    for address in channelz.split(",") if channelz else ():
        found += await channelz_checks.findings(address, route._replace(use_proxy=False))
    reached = await target_checks.findings(target, route)
    found += reached
    if all(each.level == "problem" for each in reached):
        return found
    async with connect(target, use_proxy=use_proxy) as mesh:
        agents, queues, stats, tokens, audit, authority = await asyncio.gather(
            mesh.fleet.agents(),
            mesh.fleet.queues(),
            mesh.stats(),
            token_checks.listed(mesh),
            audit_checks.asked(mesh),
            authority_checks.asked(mesh),
        )
    found += mesh_checks.insecure(stats)
    found += mesh_checks.limited(stats)
    found += audit_checks.findings(audit)
    found += token_checks.findings(tokens, datetime.now(UTC))
    found += authority_checks.findings(authority, datetime.now(UTC))
    given = targets.parse(target)
    addresses, name = await asyncio.to_thread(resolved, given), route.named_for(given).name
    servers = {f"coordinator {each}": (each, name) for each in addresses}
    servers |= {
        f"agent {each.id}": (each.advertised_address, each.tls_name) for each in agents if each.tls_name
    }
    found += await tls_checks.served(servers, route.security)
    return [*found, *mesh_checks.findings(agents, queues, datetime.now(UTC))]
