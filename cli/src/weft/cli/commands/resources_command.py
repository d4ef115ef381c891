"""`weft resources`: which tasks use agents' resources, and which hold locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal import moments
from weft.cli.terminal.output import StyledText, json_text, line
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh, Resources
    from weft.client.resource_snapshot import LockState, ResourceUse

# Tasks that a row names.
_NAMED = 5
_RESOURCES = (
    Column("agent"),
    Column("resource"),
    Column("declared", right=True),
    Column("used", right=True),
    Column("by", below=True),
)
_LOCKS = (
    Column("lock"),
    Column("held by", below=True),
    Column("since", right=True),
    Column("waiting", right=True),
)


@examples(
    "weft resources",
    "weft resources --lock db-migrate --json",
)
def resources(
    method: inputs.MethodFilter = "",
    lock: Annotated[str, typer.Option(metavar="NAME", help="Only this lock, and no resources.")] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show the resources that agents have declared and the tasks that use them; and the locks that are held or waited for."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> Resources:
        of = await inputs.queue_method(mesh, method) if method else ""
        return await mesh.fleet.resources(of, lock)

    found = run(target, work)
    if as_json:
        from weft.cli.rendering.documents import resources_document

        line(json_text(resources_document(found)))
        return
    if not lock:
        print_rows(_RESOURCES, [_resource(use) for use in found.uses], "no agent has declared resources")
    print_rows(_LOCKS, [row for each in found.locks for row in _lock(each)], "no locks are held")


def _resource(use: ResourceUse) -> list[StyledText]:
    tasks = list(use.users)
    more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
    return [
        use.agent_id,
        use.resource,
        f"{use.declared:g}",
        f"{use.used:g}",
        ", ".join(tasks[:_NAMED]) + more,
    ]


def _lock(lock: LockState) -> list[list[StyledText]]:
    """A row for each holder; the first one has the lock's name."""
    rows: list[list[StyledText]] = [
        [
            "",
            f"{holder.task_id} on {holder.agent_id}{' (shared)' if holder.shared else ''}",
            f"{moments.since(holder.since)} ago",
            "",
        ]
        for holder in lock.holders
    ] or [["", "", "", ""]]
    rows[0][0], rows[0][3] = lock.name, str(lock.waiting)
    return rows
