"""`weft coordinator`: runs one until SIGTERM, SIGHUP or Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.operators_options import Channelz, Hooks, Metrics
from weft.cli.process.loading import loading
from weft.cli.process.socket_activation import refuse_passed_sockets
from weft.rpc.process.extras import require


@examples(
    "weft coordinator",
    "weft coordinator --store /var/lib/weft/weft.db --durability full",
    "weft coordinator --listen 0.0.0.0:7700 --tls-cert c.pem --tls-key c-key.pem --tokens on",
    "weft coordinator --replace",
    "WEFT_STORE_PASSWORD=... weft coordinator --store redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/main",
)
def coordinator(
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Address to listen on. [default: 127.0.0.1:7700]")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|URL",
            help="The store's file, or a Redis: redis://HOST:PORT/DB, rediss://…, unix://…,"
            " redis+sentinel://H:P,H:P/SERVICE or redis+cluster://H:P,H:P. [default: weft.db]",
        ),
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="What acknowledged tasks survive. File: process (a kill; default) or full (power loss)."
            " Redis: fast (synced each second; default), durable or replicated.",
        ),
    ] = None,
    address_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Write the bound address to this file, once the coordinator serves."
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            metavar="on|off", help="Let only callers in that show a token (weft tokens). [default: off]"
        ),
    ] = None,
    operator_token_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where the first start writes an operator's token.")
    ] = None,
    ca: Annotated[
        str | None,
        typer.Option(
            metavar="off|auto",
            help="auto: make all certificates of the mesh by itself: who joins with a token gets one. [default: off]",
        ),
    ] = None,
    join_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Where callers join then. [default: the port after the other]"
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who may call what (weft policy check); needs tokens.")
    ] = None,
    audit_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write who did what to this file (weft audit).")
    ] = None,
    placement: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="A plug-in that chooses between agents with free slots. [default: least connections]",
        ),
    ] = None,
    discovery: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Write the address into a registry: consul://HOST:8500/SERVICE, k8s://NAMESPACE/SERVICE or file:///PATH.",
        ),
    ] = None,
    keda: Annotated[
        bool | None,
        typer.Option("--keda", help="Tell KEDA how much work there is: agents scale, to zero too."),
    ] = None,
    xds: Annotated[
        bool | None,
        typer.Option("--xds", help="Tell gRPC's own clients which agents to call: xds:///SERVICE."),
    ] = None,
    metrics: Metrics = None,
    channelz: Channelz = None,
    hooks: Hooks = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Take the place of the coordinator at this address, without a failed call (Linux).",
        ),
    ] = False,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
) -> None:
    """Run a coordinator until SIGTERM, SIGHUP or Ctrl-C, or until another one has taken its place.

    Every setting can also be set by an environment variable, such as WEFT_RESULT_TTL_S=86400: see docs/settings.md.
    Traces are exported if OpenTelemetry's variables ask for it, such as OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317.
    """
    given = {
        "listen": listen,
        "store": store,
        "durability": durability,
        "address_file": address_file,
        "tokens": tokens,
        "ca": ca,
        "join_listen": join_listen,
        "operator_token_file": operator_token_file,
        "policy": policy,
        "audit_log": audit_log,
        "placement": placement,
        "discovery": discovery,
        "keda": keda,
        "xds": xds,
        "metrics": metrics,
        "channelz": channelz,
        "hooks": hooks,
        "log_level": log_level,
    }
    _run_coordinator({name: value for name, value in given.items() if value is not None}, replace=replace)


def _run_coordinator(given: dict[str, Any], *, replace: bool) -> None:
    """Run a coordinator, configured by the options, until it ends.

    Raises:
        Failure: a setting is wrong (exit status 2), or the coordinator cannot run.
    """
    require("coordinator")
    refuse_passed_sockets()
    with loading(for_long=True):
        from pydantic import ValidationError

        from weft.cli.terminal.failure import Failure, system_reason
        from weft.coordinator.coordinator_process import run
        from weft.coordinator.handover.handover_wire import HandoverError
        from weft.coordinator.identity.first_operator import FirstTokenError
        from weft.coordinator.server_port import BindError
        from weft.coordinator.settings import CoordinatorSettings
        from weft.coordinator.store.open_errors import StoreError
        from weft.rpc.network.binding import OperatorsBindError

    try:
        settings = CoordinatorSettings(**given)
    except ValidationError as error:
        faults = CoordinatorSettings.faults(error, given)
        raise Failure("bad settings", *map(str, faults), status=2) from None
    try:
        run(settings, replace=replace)
    except StoreError as error:
        raise Failure(f"cannot use the store: {error}") from None
    except (BindError, HandoverError, OperatorsBindError, FirstTokenError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        place = f"cannot use {error.filename}: " if error.filename else ""
        raise Failure(f"the coordinator cannot run: {place}{system_reason(error)}") from None
