"""One tree from a caller through a sidecar's app in Go, which knows nothing of traces, to a Python agent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.beside import free_address
from tests.support.languages import Go
from tests.support.mesh import MeshHarness
from tests.support.otlp_receiver import otlp_receiver
from tests.support.processes import Process
from tests.support.shared_redis import two_coordinators
from tests.support.trace_tree import Caller, drawn, exporting
from weft.rpc.network.channel import client_options, dial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GREET, CALL = "greeter.v1.GreeterService/Greet", "probe.v1.ProbeService/Call"
# A GreetRequest: its name.
REQUEST = b"\x0a\x03Ada"


async def test_the_tree_goes_through_an_app_in_go(mesh: MeshHarness, tmp_path: Path) -> None:
    """With a retry, an agent killed in the middle, and two coordinators on Redis."""
    app_address, egress, ledger = free_address(), free_address(), mesh.ledger("tree")
    caller = Caller()
    with otlp_receiver() as receiver:
        env = mesh.env = exporting(receiver)
        async with two_coordinators(mesh, tmp_path, env) as (near, far):
            app = Process("app", Go().passing(app_address, egress, ledger.path), log=tmp_path / "app.log")
            words = ("--app", app_address, "--egress", egress, "--target", near.target, "--id", "side")
            side = Process.weft("side", "agent", *words, log=tmp_path / "side.log", env=env)
            mesh.others += [app, side]
            await mesh.agent("kept", env=env)
            await far.wait_serving("greeter.v1.GreeterService")
            async with dial(far.target, options=client_options()) as channel:
                metadata = (*caller.trace, ("weft-retry", "initial_backoff=0.01s"))
                calling = asyncio.ensure_future(
                    channel.unary_unary(f"/{GREET}")(REQUEST, timeout=30, metadata=metadata)
                )
                await ledger.until("start", "t")
                await mesh.agents["kept"].kill()
                await mesh.agent("a1", env=env)
                assert b"Hello Ada" in await calling
            spans = caller.wait(receiver, 16)
    assert drawn(spans, caller.span_id) == [
        f"SERVER {GREET}",
        f"  PRODUCER submit {GREET}",
        f"    INTERNAL wait {GREET}",
        f"    CONSUMER process {GREET}",
        f"      CLIENT {GREET}",
        f"    INTERNAL wait {GREET}",
        f"    CONSUMER process {GREET}",
        f"      CLIENT {GREET}",
        f"        SERVER {CALL}",
        f"          CLIENT {CALL}",
        f"            SERVER {CALL}",
        f"              PRODUCER submit {CALL}",
        f"                INTERNAL wait {CALL}",
        f"                CONSUMER process {CALL}",
        f"                INTERNAL wait {CALL}",
        f"                CONSUMER process {CALL}",
    ]
    attempts = sorted((span for span in spans if span.kind == "CONSUMER"), key=lambda span: span.start_ns)
    assert [span.process["service.instance.id"] for span in attempts] == [
        "side",
        "side",
        attempts[2].process["service.instance.id"],
        "a1",
    ]
    # The coordinator tells of the attempt whose agent it lost.
    assert attempts[2].attributes["error.type"] == "agent_lost"
    assert [span.attributes.get("weft.rerun.cause") for span in attempts] == [None, "failed", None, "lost"]
