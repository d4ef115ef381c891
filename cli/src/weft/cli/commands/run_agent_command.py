"""`weft agent`: runs one until SIGTERM, SIGHUP or Ctrl-C."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.operators_options import Channelz, Metrics
from weft.cli.command_line.service_options import Services, service_names
from weft.cli.command_line.shared_options import TARGET_FORM, checked_target, pairs
from weft.cli.process import parent_death
from weft.cli.process.loading import loading
from weft.cli.process.socket_activation import refuse_passed_sockets

if TYPE_CHECKING:
    from weft.agent import Agent
    from weft.rpc.process.service_notices import ServiceNotices

LOG_LEVELS = ("debug", "info", "warning", "error")


@examples(
    "weft agent worker:agent --target 10.0.0.1:7700,10.0.0.2:7700 --slots 8",
    "weft agent worker:agent --label zone=eu --reload",
    "weft agent --with hardware",
    "weft agent --app 127.0.0.1:50051 --egress 127.0.0.1:7701",
    "weft agent --celery proj.app --celery-queues feeds,mails",
)
def agent(
    program: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:OBJECT", help="The program: a weft.agent.Agent, such as acme.worker:agent."
        ),
    ] = None,
    services: Services = None,
    app: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|unix:PATH",
            help="Instead of a program: a gRPC server in any language, whose methods the agent hosts.",
        ),
    ] = None,
    descriptors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --app: the app's FileDescriptorSet, if its reflection is missing or leaves out options.",
        ),
    ] = None,
    egress: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|unix:PATH|off",
            help="With --app: the address where the app calls the mesh. [default: 127.0.0.1:7701]",
        ),
    ] = None,
    app_tls_ca: Annotated[
        str | None,
        typer.Option(
            "--app-tls-ca",
            metavar="FILE|system",
            help="With --app: reach the app by TLS, and verify it by these authorities.",
        ),
    ] = None,
    egress_tls: Annotated[
        bool,
        typer.Option("--egress-tls", help="With --app: the egress uses TLS with the agent's certificate."),
    ] = False,
    durable: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD|SERVICE",
            help="With --app: the app's calls of this method or service are durable by default; repeatable.",
        ),
    ] = None,
    celery: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE[:APP]",
            help="Instead of a program: an app of Celery, whose tasks the agent hosts.",
        ),
    ] = None,
    celery_queues: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME", help="With --celery: take from these queues alone. [default: all of the app]"
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar=TARGET_FORM,
            help="The coordinator's address; several are separated by commas. Or a source of addresses, such as consul://HOST:8500/weft or"
            " dns+srv://NAME (env WEFT_TARGET). [default: 127.0.0.1:7700]",
            callback=checked_target,
        ),
    ] = None,
    discovery: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Write each service, with the agent's own address, into a registry: consul://HOST:8500, k8s://NAMESPACE or file:///PATH.",
        ),
    ] = None,
    agent_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The agent's id, unique among live agents.")
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many calls run at a time. [default: the number of cores + 4; with --app: 256]",
        ),
    ] = None,
    prefetch: Annotated[
        int | None, typer.Option(metavar="N", help="Slots' worth of attempts to hold beyond the free slots.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; repeatable.")] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=AMOUNT", help="An amount that tasks require or use, such as gpu=2; repeatable."
        ),
    ] = None,
    drain_grace_s: Annotated[
        float | None,
        typer.Option(metavar="S", help="At SIGTERM, running calls get so many seconds to finish."),
    ] = None,
    restart_at_overrun: Annotated[
        int | None,
        typer.Option(
            metavar="SLOTS",
            help="Exit in order, with status 75, if handlers that ignore their cancellation use so many slots:"
            " a supervisor then starts the agent again.",
        ),
    ] = None,
    end_when_idle_s: Annotated[
        float | None,
        typer.Option(metavar="S", help="Exit in order, with status 0, after so long without work."),
    ] = None,
    replace_options: Annotated[
        bool,
        typer.Option(
            "--replace-options",
            help="Put the task policies of its methods in force for all agents, also if connected ones have others.",
        ),
    ] = False,
    metrics: Metrics = None,
    channelz: Channelz = None,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = "info",
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart the agent when a Python file changes.")
    ] = False,
) -> None:
    """Run an agent until SIGTERM, SIGHUP or Ctrl-C. Then it drains: it releases attempts that have not started, and finishes the others.

    The agent hosts the methods of a Python program, of services that are installed (--with), of an app of Celery (--celery) or, with --app, of a gRPC
    server beside it.
    A setting without an option here is taken from the program, or else from its WEFT_AGENT_* variable. Traces are exported if
    OpenTelemetry's variables ask for it, such as OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317.
    """
    beside_app = {
        "app": app,
        "descriptors": descriptors,
        "egress": egress,
        "durable": durable,
        "app_tls_ca": app_tls_ca,
        "egress_tls": egress_tls or None,
    }
    refuse_passed_sockets()
    if sum([program is not None, celery is not None, any(beside_app.values())]) > 1:
        raise typer.BadParameter("give one of MODULE:OBJECT, --celery, or --app and its options")
    if celery_queues is not None and celery is None:
        raise typer.BadParameter("there is no app of Celery", param_hint="--celery-queues")
    names = service_names(services)
    if names and any(beside_app.values()):
        raise typer.BadParameter("a sidecar hosts its app alone: run a second agent", param_hint="--with")
    if program is None and celery is None and reload:
        raise typer.BadParameter("there is no program to reload", param_hint="--reload")
    labels = pairs(label, "--label") if label else None
    resources = inputs.amounts(resource, "--resource") if resource else None
    _log_at(log_level)
    if reload:
        _run_with_reload()
    given = {
        "agent_id": agent_id,
        "target": target,
        "discovery": discovery,
        "slots": slots,
        "prefetch": prefetch,
        "labels": labels,
        "resources": resources,
        "drain_grace_s": drain_grace_s,
        "restart_at_overrun_slots": restart_at_overrun,
        "end_when_idle_s": end_when_idle_s,
        "replace_options": replace_options or None,
        "metrics": metrics,
        "channelz": channelz,
    }
    _run_agent(_made(program, (celery, celery_queues or ""), names, beside_app, given))


def _run_with_reload() -> NoReturn:
    """Run this command without --reload in a child, which is started again when a file changes; exit with its status."""
    from weft.agent.program.reload import command, run_with_reload

    argv = command([part for part in sys.argv[1:] if part != "--reload"])
    raise typer.Exit(run_with_reload(argv, os.environ | parent_death.child_environment()))


def _run_agent(made: Agent) -> None:
    """Run the agent until it ends.

    Raises:
        Failure: too many slots are overrun; a supervisor should start the agent again.
    """
    from weft.agent.errors import RESTART_STATUS, OverrunError
    from weft.cli.terminal.failure import Failure
    from weft.rpc.process.service_notices import service_notices
    from weft.rpc.telemetry.metrics_export import set_up_metrics, shut_down_metrics
    from weft.rpc.telemetry.providers import set_up_traces, shut_down

    export = set_up_traces("weft-agent", made.settings.id)
    provider = set_up_metrics("weft-agent", made.settings.id, made.figures)
    if (notices := service_notices()) is not None:
        _follow(made, notices)
    try:
        made.run()
    except OverrunError as error:
        raise Failure(error.message, status=RESTART_STATUS) from None
    finally:
        shut_down_metrics(provider)
        shut_down(export)


def _follow(made: Agent, notices: ServiceNotices) -> None:
    """Tell systemd how the agent is."""
    target = ",".join(made.settings.target)

    @made.background
    async def follow_service() -> None:
        try:
            # Ready also while no coordinator answers: the agent dials until one does.
            await notices.follow(
                lambda: f"connected to {target}" if made.connected else f"no coordinator answers at {target}"
            )
        finally:
            if made.restarts:
                notices.replaced()
            else:
                notices.stopping()


def _made(
    program: str | None,
    celery: tuple[str | None, str],
    services: list[str],
    beside_app: dict[str, Any],
    given: dict[str, Any],
) -> Agent:
    """The agent, configured by the options.

    Raises:
        Failure: an option or setting is wrong (exit status 2), or the program cannot be loaded.
    """
    with loading():
        from weft.agent.errors import HostingError, LoadError, ProgramError, SettingsError
        from weft.cli.terminal.failure import Failure

    try:
        hosts_itself = program is not None or celery[0] is not None or services
        made = _loaded(program, celery, services) if hosts_itself else _sidecar(beside_app)
        if celery[0] is not None and given["labels"]:
            # Its queues are labels, too.
            given["labels"] = {**made.settings.labels, **given["labels"]}
        made.configure(**given)
    except (ProgramError, HostingError) as error:
        raise Failure(error.message) from None
    except (LoadError, SettingsError) as error:
        raise Failure(error.message, status=2) from None
    return made


def _loaded(program: str | None, celery: tuple[str | None, str], services: list[str]) -> Agent:
    """The agent of a program, of an app of Celery, or one of its own, with services."""
    with loading(for_long=True):
        from weft.agent import Agent
        from weft.agent.program.loader import load

    app, queues = celery
    if app is not None:
        from weft.compat.celery.app_loading import load_agent

        made = load_agent(app, queues)
    else:
        made = Agent() if program is None else load(program)
    if services:
        from weft.agent.program.service_packages import add_services

        add_services(made, services)
    return made


def _sidecar(beside_app: dict[str, Any]) -> Agent:
    with loading(for_long=True):
        from weft.agent.sidecar import Sidecar, sidecar_settings

    settings = sidecar_settings(**beside_app)
    if not settings.app:
        raise typer.BadParameter(
            "say what to run: MODULE:OBJECT, --with NAME, --celery MODULE, or --app HOST:PORT"
        )
    return Sidecar(settings)


def _log_at(level: str) -> None:
    from weft.rpc.process import logs

    if level not in LOG_LEVELS:
        raise typer.BadParameter(f"{level!r} is not one of {', '.join(LOG_LEVELS)}", param_hint="--log-level")
    logs.configure(level)
