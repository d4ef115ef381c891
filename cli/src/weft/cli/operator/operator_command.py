"""`weft operator`: keep the Deployments of `WeftAgentPool`s as large as the queues want them."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Target
from weft.cli.terminal.failure import Failure

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@examples(
    "weft operator --target weft:7700",
    "weft operator --api http://127.0.0.1:8001 --kubernetes-namespace default",
)
def operator(
    target: Target = DEFAULT_TARGET,
    kubernetes_namespace: Annotated[
        str,
        typer.Option(
            "--kubernetes-namespace",
            metavar="NAME",
            help="The namespace of Kubernetes whose pools it keeps. [default: that of its pod]",
        ),
    ] = "",
    api: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The Kubernetes API, such as http://127.0.0.1:8001 of `kubectl proxy`. [default: that of its cluster]",
        ),
    ] = "",
    account: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Where token, ca.crt and namespace of its service account are.",
            show_default=True,
        ),
    ] = _ACCOUNT,
    look_s: Annotated[
        float,
        typer.Option(
            "--look-s",
            metavar="S",
            min=0.1,
            max=60.0,
            help="How often the queues are looked at, in seconds.",
            show_default=True,
        ),
    ] = 2.0,
) -> None:
    """Keep pools of agents in Kubernetes as large as their queues want.

    Each WeftAgentPool of its namespace becomes a Deployment. Of several operators one acts, by the Lease weft-operator. Until SIGTERM, SIGHUP or Ctrl-C.
    """
    from weft.cli.process.command_runner import by_proxy
    from weft.cli.process.loading import loading
    from weft.rpc.process.extras import MissingExtra, require

    try:
        require("http", "weft operator")
    except MissingExtra as error:
        raise Failure(str(error)) from None
    use_proxy = by_proxy()
    with loading(for_long=True):
        from weft.cli.operator.cluster_api import ClusterApi, own_address, own_namespace, trust_of
        from weft.cli.operator.pool_operator import PoolOperator
        from weft.cli.operator.pool_work import MeshQueues
        from weft.cli.process.stop_event import stop_event
        from weft.rpc.process import event_loops, logs

    address = _address(api, own_address())
    namespace = kubernetes_namespace or own_namespace(account)
    if not namespace:
        raise Failure(
            f"{account / 'namespace'} cannot be read: name the namespace by --kubernetes-namespace", status=2
        )
    logs.configure()

    async def run() -> None:
        stop = stop_event()
        queues = MeshQueues(target, use_proxy=use_proxy)
        identity = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        try:
            async with ClusterApi(address, trust_of(account), account / "token") as cluster:
                await PoolOperator(cluster, queues, namespace, identity, look_s).run(stop)
        finally:
            await queues.close()

    event_loops.run(run())


def _address(given: str, own: str) -> str:
    """The address of the API.

    Raises:
        Failure: there is none, or the token would go there in clear.
    """
    if not (address := given or own):
        raise Failure("this is in no cluster of Kubernetes: name its API by --api", status=2)
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        raise Failure(f"--api is {given!r}; it must be a URL", status=2) from None
    if parts.scheme not in ("http", "https") or not host:
        raise Failure(f"--api is {given!r}; it must be a URL, such as https://10.0.0.1:6443", status=2)
    if parts.scheme == "http" and host not in ("127.0.0.1", "::1", "localhost"):
        raise Failure(f"--api is {given!r}: the token is sent by https, or to this machine, only", status=2)
    return address
