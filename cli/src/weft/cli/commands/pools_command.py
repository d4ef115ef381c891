"""`weft pools ...`: agents that coordinators start, keep at their number, replace and stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.pool_options import (
    NO_TEMPLATE,
    NO_WORK,
    TemplateOptions,
    WorkOptions,
    with_template_options,
    with_work_options,
)
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.steering.id_changes import change_names
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line
from weft.cli.terminal.tables import print_pairs, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh, Pool, PoolProvider

_HELP = with_examples(
    "Create, launch, list, show, scale, update, pause, resume, restart, stop and delete pools: agents that coordinators start and keep at their"
    " number. A coordinator may start agents if its setting pool_providers says so.",
    "weft pools create workers acme.worker:agent --size 4",
    "weft pools scale workers 8",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The pool's name.", autocompletion=completion.pools)
]
Names = Annotated[
    list[str], typer.Argument(metavar="NAME", help="Names of pools.", autocompletion=completion.pools)
]
NewName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="1 to 40 lower-case letters, digits and '-'."),
]
TtlS = Annotated[
    float | None, typer.Option("--ttl-s", metavar="S", min=1, help="It is deleted after so long.")
]
IdleS = Annotated[
    float | None,
    typer.Option("--idle-s", metavar="S", min=1, help="Stop members that had nothing to do for so long."),
]
WaitS = Annotated[
    float | None,
    typer.Option("--wait-s", metavar="S", min=0, help="Wait until it is ready, for so long at most."),
]


@app.command()
@examples(
    "weft pools create workers acme.worker:agent --size 4 --slots 8 --label zone=eu",
    "weft pools create shops --app 127.0.0.1:50051 --ready-s 20 --wait-s 30",
    "weft pools create nodes --size 2 --command 'node agent.js'",
)
@with_template_options
@with_work_options
def create(
    name: NewName,
    size: Annotated[
        int, typer.Option("--size", "-n", metavar="N", min=0, max=200, help="How many members it has.")
    ] = 1,
    template: TemplateOptions = NO_TEMPLATE,
    work: WorkOptions = NO_WORK,
    ttl_s: TtlS = None,
    idle_s: IdleS = None,
    surge: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=200, help="So many more while members are replaced; 0: a quarter."
        ),
    ] = 0,
    healthy_s: Annotated[
        float | None,
        typer.Option(
            "--healthy-s", metavar="S", min=0, help="A new member counts after so long. [default: 5]"
        ),
    ] = None,
    wait_s: WaitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Create a pool. Its members are started, and replaced when they end.

    The same command again is harmless. Exit status 1 if there is another pool of this name, or with --wait-s, if it is not ready in
    time.
    """
    from weft.client import Rollout

    made, autoscale = template.template(), work.autoscale()
    rollout = Rollout(surge=surge, healthy_for_s=healthy_s) if surge or healthy_s is not None else None

    async def created(mesh: Mesh) -> Pool:
        pool = await mesh.pools.create(
            name,
            made,
            size=size,
            autoscale=autoscale,
            ttl_s=ttl_s,
            idle_stop_s=idle_s,
            rollout=rollout,
        )
        return await _waited(mesh, pool, wait_s)

    _print_changed(_run(target, created), as_json=as_json)


@app.command()
@examples("weft pools launch acme.worker:agent", "weft pools launch acme.worker:agent --count 3 --name burst")
@with_template_options
def launch(
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The pool's name. [default: a generated one]")
    ] = "",
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, max=200, help="How many agents.")
    ] = 1,
    template: TemplateOptions = NO_TEMPLATE,
    ttl_s: TtlS = None,
    idle_s: IdleS = None,
    wait_s: WaitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Launch agents that are not replaced when they end.

    They are an ephemeral pool, which is deleted with the last one.
    """
    made = template.template()

    async def work(mesh: Mesh) -> Pool:
        pool = await mesh.pools.launch(made, name=name, count=count, ttl_s=ttl_s, idle_stop_s=idle_s)
        return await _waited(mesh, pool, wait_s)

    _print_changed(_run(target, work), as_json=as_json)


async def _waited(mesh: Mesh, pool: Pool, wait_s: float | None) -> Pool:
    if wait_s is None:
        return pool
    try:
        return await mesh.pools.wait_ready(pool.name, timeout_s=wait_s)
    except TimeoutError as error:
        raise Failure(str(error)) from None


@app.command("list")
@examples("weft pools list", "weft pools list --json")
def list_pools(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List all pools, with how many of their members are ready."""
    from weft.cli.rendering import pool_view

    async def work(mesh: Mesh) -> list[Pool]:
        return [pool async for pool in mesh.pools.list()]

    found = _run(target, work)
    if as_json:
        line(json_text([pool_view.pool_document(pool) for pool in found]))
    else:
        print_rows(pool_view.COLUMNS, [pool_view.row(pool) for pool in found], "no pools")


@app.command()
@examples("weft pools show workers", "weft pools show workers --json")
def show(name: Name, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Show a pool and its members.

    Its state, what keeps it from being ready, and its template.
    """
    from weft.cli.rendering import pool_view

    async def work(mesh: Mesh) -> Pool:
        return await mesh.pools.get(name)

    pool = _run(target, work)
    if as_json:
        line(json_text(pool_view.pool_document(pool, full=True)))
        return
    print_pairs(pool_view.facts(pool))
    if pool.members:
        line("")
        print_rows(pool_view.MEMBER_COLUMNS, [pool_view.member_row(each) for each in pool.members], "")


@app.command()
@examples(
    "weft pools scale workers 8 --wait-s 30", "weft pools scale workers --min 1 --max 20 --per-member 10"
)
@with_work_options
def scale(
    name: Name,
    size: Annotated[
        int | None,
        typer.Argument(metavar="[N]", min=0, max=200, help="How many members it is to have."),
    ] = None,
    work: WorkOptions = NO_WORK,
    wait_s: WaitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Change how many members a pool has.

    So many, or, with --max, as many as the work needs. Those that are too many finish what they run.
    """
    autoscale = work.autoscale()
    if (size is None) == (autoscale is None):
        raise Failure("say how many members: a number, or --max", status=2)

    async def scaled(mesh: Mesh) -> Pool:
        return await _waited(mesh, await mesh.pools.scale(name, size or 0, autoscale=autoscale), wait_s)

    _print_changed(_run(target, scaled), as_json=as_json)


@app.command()
@examples(
    "weft pools update workers acme.worker2:agent --wait-s 60",
    "weft pools update workers --env MODEL=large --percent 10",
    "weft pools update workers --percent 100",
)
@with_template_options
def update(
    name: Name,
    template: TemplateOptions = NO_TEMPLATE,
    percent: Annotated[
        int,
        typer.Option(metavar="P", min=0, max=100, help="So many of 100 members get the version; 0: all."),
    ] = 0,
    wait_s: WaitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Give a pool a new version, some members at a time.

    What is not given stays as it is in the template. An old member goes when a new one is healthy. If the new version does not become
    healthy, the pool goes back to the one before. Exit status 1 with --wait-s if it has gone back, or is not through in time.
    """

    async def updated(mesh: Mesh) -> Pool:
        known = await mesh.pools.get(name)
        made = template.onto(known.proto.spec.template)
        pool = await mesh.pools.update(name, made, percent=percent)
        if wait_s is None:
            return pool
        done = await _waited(mesh, pool, wait_s)
        if done.rolled_back and done.version != pool.version:
            raise Failure(f"rolled back: {done.rolled_back}")
        return done

    _print_changed(_run(target, updated), as_json=as_json)


@app.command("roll-back")
@examples("weft pools roll-back workers")
def roll_back(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Go back to the version before the last update."""
    _change(names, lambda mesh, name: mesh.pools.roll_back(name), target, as_json=as_json)


@app.command()
@examples("weft pools pause workers --reason 'the database moves'", "weft pools pause workers --freeze")
def pause(
    names: Names,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever lists pools.")] = "",
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Let members stand still when they have finished what they run.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Pause pools: their members take no new work.

    None is started either, until they are resumed. With --freeze they use no CPU, keep their memory, and take part in nothing; without
    it, frozen ones go on, paused.
    """
    _change(names, lambda mesh, name: mesh.pools.pause(name, reason, freeze=freeze), target, as_json=as_json)


@app.command()
@examples("weft pools resume workers")
def resume(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Resume pools that are paused or stopped. A failing one tries again at once."""
    _change(names, lambda mesh, name: mesh.pools.resume(name), target, as_json=as_json)


@app.command()
@examples("weft pools restart workers")
def restart(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Replace all members of pools, some at a time.

    An old one goes when a new one is ready.
    """
    _change(names, lambda mesh, name: mesh.pools.restart(name), target, as_json=as_json)


@app.command()
@examples("weft pools stop workers")
def stop(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Stop the members of pools, in order. The pools stay, until they are resumed or deleted."""
    _change(names, lambda mesh, name: mesh.pools.stop(name), target, as_json=as_json)


@app.command()
@examples("weft pools delete workers")
def delete(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Delete pools. Their members are stopped in order first."""
    _change(names, lambda mesh, name: mesh.pools.delete(name), target, as_json=as_json)


@app.command()
@examples("weft pools providers")
def providers(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List the ways to run members that the coordinator may use."""
    import dataclasses

    from weft.cli.rendering import pool_view

    async def work(mesh: Mesh) -> list[PoolProvider]:
        return [*await mesh.pools.providers()]

    found = _run(target, work)
    if as_json:
        line(json_text([dataclasses.asdict(each) for each in found]))
    else:
        rows = [
            [each.name, each.description, each.place, "yes" if each.can_freeze else "", each.problem]
            for each in found
        ]
        print_rows(
            pool_view.PROVIDER_COLUMNS,
            rows,
            "no providers: the coordinator's setting pool_providers (WEFT_POOL_PROVIDERS) allows none",
        )


def _change(
    names: list[str], change: Callable[[Mesh, str], Awaitable[Pool]], target: str, *, as_json: bool
) -> None:
    change_names(names, change, _shown, target, as_json=as_json)


def _run(target: str, work: Callable[[Mesh], Awaitable[Any]]) -> Any:
    from weft.cli.process.command_runner import run

    return run(target, work)


def _shown(pool: Pool) -> tuple[dict[str, Any], str]:
    from weft.cli.rendering.pool_view import pool_document

    words = f"{pool.state.name.lower()}, {pool.ready} of {pool.wanted} ready"
    return pool_document(pool), f"{pool.name} {words}"


def _print_changed(pool: Pool, *, as_json: bool) -> None:
    document, text = _shown(pool)
    line(json_text(document) if as_json else text)
