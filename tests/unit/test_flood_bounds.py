"""Bounds against floods: long names and paths, garbage that is large though it is few, connections that take all open files."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import grpc
import grpc.aio

from tests.support.refusals import check, refused
from weft.coordinator.garbage_watch import CALM_LOOKS, GROWTH_BYTES, GarbageWatch
from weft.rpc.contracts.names import nearest, unknown_method
from weft.rpc.network.channel import make_server
from weft.rpc.network.path_bound import MAX_PATH_CHARS
from weft.rpc.network.routes import Routes
from weft.rpc.process import open_files
from weft.rpc.similar_names import MAX_CHARS, similar_names

ROOT = Path(__file__).resolve().parents[2]
LONG = "p" * 900_000
MIB = 1024 * 1024


def test_a_long_name_is_similar_to_none() -> None:
    known = [f"acme.v1.Service{number}/Method" for number in range(2000)]
    assert similar_names("acme.v1.Service7/Methot", known, cutoff=0.9)
    began_s = time.process_time()
    assert similar_names(LONG, known) == nearest(LONG, known) == []
    assert len(unknown_method(LONG, known)) < 10 * MAX_CHARS
    assert time.process_time() - began_s < 0.2


def test_names_are_compared_in_one_place() -> None:
    """`difflib` takes time by the product of lengths, and callers choose one of them."""
    importing = {
        path.stem
        for room in ("rpc", "coordinator", "agent", "client", "cli", "testing")
        for path in (ROOT / room / "src").rglob("*.py")
        if "difflib" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and node.names[0].name == "difflib"
    }
    assert importing == {"similar_names"}


async def test_nothing_is_asked_or_kept_of_a_long_path() -> None:
    class Others(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
            raise AssertionError(f"asked for {len(handler_call_details.method)} characters")

    server = make_server()
    routes = Routes(server)
    routes.others = Others()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/" + "p" * MAX_PATH_CHARS)
        status = await refused(call(b"", timeout=10))
    await server.stop(None)
    check(status, grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


def test_garbage_is_collected_by_size_and_given_back_when_it_is_calm() -> None:
    size, collected, given_back = 100 * MIB, 0, 0

    def collect() -> None:
        nonlocal size, collected
        size, collected = 110 * MIB, collected + 1

    def give_back() -> None:
        nonlocal given_back
        given_back += 1

    watch = GarbageWatch(lambda: size, collect, give_back)
    for grown, times in (
        (GROWTH_BYTES - 1, 0),
        (GROWTH_BYTES, 1),
        (GROWTH_BYTES, 1),
        (GROWTH_BYTES + 10 * MIB, 2),
    ):
        size = 100 * MIB + grown
        watch.look()
        assert collected == times
    # While a flood goes on, the same memory is taken again.
    for look in range(2 * CALM_LOOKS):
        assert given_back == (look >= CALM_LOOKS)
        watch.look()
    assert (collected, given_back) == (2, 1)
    # One that is large may grow by more; one that has shrunk is looked at from there.
    size = 4000 * MIB
    large = GarbageWatch(lambda: size, collect, give_back)
    size += 2 * GROWTH_BYTES
    large.look()
    assert collected == 2
    size = 50 * MIB
    large.look()
    size += GROWTH_BYTES
    large.look()
    assert collected == 3


def test_connections_leave_open_files_for_the_store() -> None:
    assert [open_files.connections(most) for most in (None, 1, 256, 1024, 20_000)] == [
        None,
        1,
        192,
        768,
        20_000 - open_files.KEPT,
    ]
