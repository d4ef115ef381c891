"""Direct calls: by the library's channel, and by stock clients through one sidecar or two.

direct         library ─────────────────────────────► Python agent
sidecar_one    stock client ─► sidecar's egress ────► Python agent
sidecar_both   stock client ─► sidecar's egress ────► sidecar ─► plain server

With one sidecar, it is the caller's: an app in any language that calls a Python agent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS
from google.protobuf.wrappers_pb2 import BytesValue

from weft.cli.bench.bench_subject import APP_METHOD, METHOD, BenchSubject, at_once, caller, stock_caller
from weft.cli.process.children import Child, Children, free_port
from weft.client import connect

_SLOTS = 256
# The method of the calling sidecar's app. It is never called.
_IDLE_METHOD = "weft.bench.v1.IdleService/Echo"


@asynccontextmanager
async def direct(children: Children, plain: str) -> AsyncIterator[Sequence[BenchSubject]]:
    """The three kinds of direct calls, in one mesh. The plain server is the app of both sidecars."""
    store = children.folder / "direct.db"
    _, target = await children.coordinator("coordinator-direct", store=store, durability="process")
    children.agent("direct", "weft.cli.bench.echo:agent", target, slots=_SLOTS)
    _sidecar(children, "called", target, plain, APP_METHOD, "off")
    egress = f"127.0.0.1:{free_port()}"
    _sidecar(children, "calling", target, plain, _IDLE_METHOD, egress)
    async with (
        connect(target) as mesh,
        stock_caller(egress, METHOD) as one,
        stock_caller(egress, APP_METHOD) as both,
    ):
        for method in (METHOD, APP_METHOD, _IDLE_METHOD):
            await children.hosted(mesh, method, agents=1)
        ways = (
            ("direct", "direct call", caller(mesh.channel(direct=True), METHOD)),
            ("sidecar_one", "direct call, sidecar at one end", one),
            ("sidecar_both", "direct call, sidecar at both ends", both),
        )
        yield [
            BenchSubject(prefix=prefix, title=title, call=call, burst=at_once(call), rate="per_s")
            for prefix, title, call in ways
        ]


def _sidecar(children: Children, name: str, target: str, app: str, method: str, egress: str) -> Child:
    described = children.folder / f"{name}.binpb"
    _describe(method, described)
    beside = ("--app", app, "--descriptors", str(described), "--egress", egress)
    agent = ("--target", target, "--id", f"sidecar-{name}", "--slots", str(_SLOTS))
    return children.python(f"sidecar-{name}", "-m", "weft.cli.main", "agent", *beside, *agent)


def _describe(method: str, path: Path) -> None:
    """Write the descriptors of a service that has this method only."""
    service, _, simple_name = method.partition("/")
    package, _, short = service.rpartition(".")
    kind = f".{BytesValue.DESCRIPTOR.full_name}"
    echo = MethodDescriptorProto(name=simple_name, input_type=kind, output_type=kind)
    file = FileDescriptorProto(
        name=f"bench/{short}.proto",
        package=package,
        dependency=[WRAPPERS.name],
        syntax="proto3",
        service=[ServiceDescriptorProto(name=short, method=[echo])],
    )
    imported = FileDescriptorProto.FromString(WRAPPERS.serialized_pb)
    path.write_bytes(FileDescriptorSet(file=[imported, file]).SerializeToString())
