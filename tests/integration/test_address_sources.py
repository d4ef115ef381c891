"""Sources of coordinators' addresses, each by a server that speaks its protocol: changes are followed, the last good addresses stay while a source is away, and what is no
answer is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from aiohttp import web

from tests.support.consul import ConsulDouble
from tests.support.dns_server import NAME, DnsServer
from tests.support.endpoint_slices import EndpointSlicesDouble
from weft.rpc.registries import followed as following
from weft.rpc.registries.followed import Followed, follow
from weft.rpc.registries.resolved_targets import resolved

A, B, C = "127.0.0.1:1001", "127.0.0.2:1001", "127.0.0.3:1001"
# A source tells of a change within this time, on a busy machine too.
SOON_S = 20.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources look again at once."""
    monkeypatch.setattr(following, "MAX_BACKOFF_S", 0.1)
    monkeypatch.setattr(following, "LINGER_S", 0.0)
    monkeypatch.setattr("weft.rpc.registries.consul_source.PAUSE_S", 0.0)
    monkeypatch.setattr("weft.rpc.registries.consul_source.POLL_S", 0.05)
    monkeypatch.setattr("weft.rpc.registries.dns_source.LEAST_S", 0.05)
    monkeypatch.setattr("weft.rpc.registries.file_source.LOOK_S", 0.02)
    monkeypatch.setattr("weft.rpc.registries.kubernetes_source.PAUSE_S", 0.0)


class Served(NamedTuple):
    """A source that runs."""

    target: str
    put: Callable[..., None]
    # Makes it answer with what is no answer.
    break_it: Callable[[], None]
    double: Any


@contextlib.asynccontextmanager
async def consul(_folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    async with ConsulDouble() as double:

        def put(*addresses: str) -> None:
            double.instead = None
            double.put(*addresses)

        def break_it() -> None:
            double.instead = web.Response(status=500, text="no leader")
            double.change()

        yield Served(double.target, put, break_it, double)


@contextlib.asynccontextmanager
async def dns(_folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    async with DnsServer() as double:
        double.ttl_s = 0

        def break_it() -> None:
            double.records = {(NAME, "SRV"): [f"0 0 1001 nobody.{NAME}"]}

        yield Served(double.target, double.put, break_it, double)


@contextlib.asynccontextmanager
async def kubernetes(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    async with EndpointSlicesDouble() as double:
        double.write_config(folder / "kubeconfig")
        patch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

        def break_it() -> None:
            double.store(
                {
                    "metadata": {"name": "weft-abc", "labels": {"kubernetes.io/service-name": "weft"}},
                    "ports": 7,
                    "endpoints": [7],
                }
            )

        # Another one each time: a source is shared, and lingers.
        yield Served(f"k8s://space-{uuid.uuid4().hex[:8]}/weft:grpc", double.put, break_it, double)


@contextlib.asynccontextmanager
async def file(folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    path = folder / "coordinators"

    def put(*addresses: str) -> None:
        other = folder / "other"
        other.write_text("# coordinators\n" + "".join(f"{each}  # one\n" for each in addresses))
        other.replace(path)

    def break_it() -> None:
        path.write_bytes(b"\xff\xfe")

    yield Served(f"file://{path}", put, break_it, path)


Source = Callable[[Path, pytest.MonkeyPatch], contextlib.AbstractAsyncContextManager[Served]]


class Follow(Protocol):
    def __call__(self, target: str) -> Followed: ...


@pytest.fixture(params=[consul, dns, kubernetes, file], ids=lambda source: source.__name__)
async def source(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    made: Source = request.param
    async with made(tmp_path, monkeypatch) as served:
        yield served


@pytest.fixture
def followed() -> Iterator[Follow]:
    made: list[Followed] = []

    def start(target: str) -> Followed:
        made.append(follow(target))
        return made[-1]

    yield start
    for each in made:
        each.release()


async def soon(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


async def test_changes_are_followed(source: Served, followed: Follow) -> None:
    source.put(A, B)
    found = followed(source.target)
    await soon(lambda: found.known == {A, B}, "both are known")
    told: list[frozenset[str]] = []
    end = found.tell(lambda: told.append(found.known))

    source.put(A, B, C)
    await soon(lambda: found.known == {A, B, C}, "one more")
    source.put(C)
    await soon(lambda: found.known == {C}, "two are gone")

    assert found.dialled == ((C,), C)
    assert {A, B, C} in told
    assert told[-1] == {C}
    end()
    assert resolved([source.target]) == (C,)


async def test_the_last_good_addresses_stay(
    source: Served, followed: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    source.put(A)
    found = followed(source.target)
    await soon(lambda: found.known == {A}, "it is known")

    source.put()
    await soon(lambda: "names no address" in found.problem, "none is left")
    source.break_it()
    await soon(lambda: bool(found.problem) and "names no address" not in found.problem, "it is broken")
    assert found.known == {A}
    # Those of earlier tests linger.
    told = [record.getMessage() for record in caplog.records]
    away = [line for line in told if "source_away" in line and source.target in line]
    assert len(away) == 1, "once, not each time"

    source.put(B)
    await soon(lambda: found.known == {B} and not found.problem, "it is back")


async def test_a_source_that_starts_later(source: Served, followed: Follow) -> None:
    source.break_it()
    found = followed(source.target)
    await soon(lambda: bool(found.problem), "it says why")
    assert found.addresses == resolved([source.target]) == ()
    # As an agent waits that starts at the same time.
    waiting = asyncio.create_task(asyncio.to_thread(found.wait, SOON_S, patient=True))
    source.put(A)
    await waiting
    assert found.known == {A}


async def test_far_too_many_addresses_are_refused(source: Served, followed: Follow) -> None:
    source.put(A)
    found = followed(source.target)
    await soon(lambda: found.known == {A}, "it is known")
    source.put(*(f"10.0.{number // 250}.{number % 250}:1001" for number in range(300)))
    await soon(lambda: "at most 64" in found.problem, found.problem)
    assert found.known == {A}


# -- Consul ---------------------------------------------------------------------------------------------------------------


async def test_consul_is_asked_with_token_and_tags_and_waits(
    followed: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    async with ConsulDouble() as double:
        double.put(A, tags=("eu", "blue"))
        found = followed(f"{double.target}?tag=eu&tag=blue&dc=dc1")
        await soon(lambda: found.known == {A}, "it is known")
        await soon(lambda: len(double.queries) == 2, "it asks again")
        first, second = double.queries
        assert "index" not in first
        assert (second["index"], second["wait"], second["dc"]) == (str(double.index), "60s", "dc1")
        assert set(double.tokens) == {"secret"}
        double.put(B, tags=("us",))
        await soon(lambda: "no address" in found.problem, "another tag does not count")
        # An index that goes back begins anew.
        await soon(lambda: double.queries[-1].get("index") == str(double.index), "it waits")
        double.index, before = 3, len(double.queries)
        double.put(C, tags=("eu", "blue"))
        await soon(lambda: any("index" not in each for each in double.queries[before:]), "it begins anew")
        await soon(lambda: found.known == {C}, "it is followed")


async def test_consul_restarts(followed: Follow) -> None:
    async with ConsulDouble() as double:
        double.put(A)
        found = followed(double.target)
        await soon(lambda: found.known == {A}, "it is known")
        await double.stop()
        await soon(lambda: bool(found.problem), "it is away")
        assert found.known == {A}
        double.put(B)
        await double.start()
        await soon(lambda: found.known == {B}, "it is back")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("{", "no JSON"),
        ('{"a": 1}', "no list"),
        ("[1]", "without an address"),
        ('[{"Service": {"Address": "", "Port": 1}, "Node": 7}]', "without an address"),
        ('[{"Service": {"Address": "10.0.0.1", "Port": 70000}}]', "is no address"),
        ('[{"Service": {"Address": "10.0.0.1", "Port": true}}]', "is no address"),
        ('[{"Service": {"Address": "unix", "Port": 7700}, "Node": {}}]', "is no address"),
        ('[{"Service": {"Address": "a,b", "Port": 7700}}]', "is no address"),
        ('[{"Service": {"Address": "http://x", "Port": 7700}}]', "is no address"),
        ('[{"Service": {"Address": ["a"], "Port": 7700}}]', "is no address"),
        ("[" * 5000, "nested"),
        ("x" * (5 * 1024 * 1024), "more than"),
    ],
)
async def test_consul_may_answer_anything(answer: str, wanted: str, followed: Follow) -> None:
    async with ConsulDouble() as double:
        double.instead = web.Response(text=answer)
        found = followed(double.target)
        await soon(lambda: bool(found.problem), "it is refused")
        assert wanted in found.problem
        assert found.addresses == ()


async def test_redirects_and_coded_answers_are_refused(followed: Follow) -> None:
    async with ConsulDouble() as elsewhere, ConsulDouble() as double:
        elsewhere.put(A)
        double.instead = web.Response(
            status=302, headers={"Location": elsewhere.target.replace("consul", "http")}
        )
        found = followed(double.target)
        await soon(lambda: "redirects are not followed" in found.problem, "it is refused")
        double.instead = web.Response(body=b"[]", headers={"Content-Encoding": "gzip"})
        await soon(lambda: "coding" in found.problem, "it is refused")
        assert elsewhere.queries == []


# -- the others -------------------------------------------------------------------------------------------------------------


async def test_kubernetes_counts_ready_pods_at_the_named_port(
    followed: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kubernetes(tmp_path, monkeypatch) as served:
        double: EndpointSlicesDouble = served.double
        ports = [{"name": "metrics", "port": 9464}, {"name": "grpc", "port": 7700}]
        ready, stopping = {"ready": True}, {"ready": False, "serving": True, "terminating": True}
        labels = {"kubernetes.io/service-name": "weft"}
        some = [("10.0.0.1", ready), ("10.0.0.2", stopping), ("10.0.0.3", {})]
        endpoints = [{"addresses": [ip], "conditions": conditions} for ip, conditions in some]
        double.store(
            {"metadata": {"name": "weft-1", "labels": labels}, "ports": ports, "endpoints": endpoints}
        )
        six = [{"addresses": ["fd00::1"], "conditions": ready}]
        double.store({"metadata": {"name": "weft-2", "labels": labels}, "ports": ports, "endpoints": six})

        found = followed(served.target)
        await soon(
            lambda: found.known == {"10.0.0.1:7700", "10.0.0.3:7700", "[fd00::1]:7700"}, str(found.known)
        )
        by_number = followed(served.target.replace("grpc", "9464"))
        await soon(lambda: "10.0.0.1:9464" in by_number.known, "by its number")
        unnamed = followed(served.target.removesuffix(":grpc"))
        await soon(lambda: "metrics (9464), grpc (7700)" in unnamed.problem, unnamed.problem)
        assert set(double.shown) == {"Bearer t"}


async def test_kubernetes_may_say_anything(
    followed: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kubernetes(tmp_path, monkeypatch) as served:
        served.put(A)
        gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
        served.double.lines = [json.dumps(gone).encode(), b"{", b"[]", b'{"type": "ADDED", "object": 7}']
        found = followed(served.target)
        # A version that is too old is no trouble.
        await soon(lambda: served.double.watches >= 2, "it watches again")
        await soon(lambda: served.double.watches >= 5 and not found.problem, "it goes on")
        assert found.known == {A}
        served.double.refuses = 403
        served.double.store(
            {
                "metadata": {"name": "weft-abc", "labels": {"kubernetes.io/service-name": "weft"}},
                "ports": 7,
                "endpoints": [7],
            }
        )
        await soon(lambda: "needs rights" in found.problem, found.problem)


async def test_srv_records_have_an_order(followed: Follow) -> None:
    async with DnsServer() as double:
        double.put(A, B, C)
        double.records[NAME, "SRV"] = [
            "20 0 1001 c0.example.test.",
            "10 0 1001 c1.example.test.",
            "30 0 1001 gone.example.test.",
        ]
        found = followed(double.target)
        await soon(lambda: found.addresses == (B, A), str(found.addresses))
        # "The service is not here."
        double.records = {(NAME, "SRV"): ["0 0 0 ."]}
        await soon(lambda: "no address" in found.problem, found.problem)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.0.0.1:7700 10.0.0.2:7700", "no port between"),
        ("unix:/run/weft.sock", "not one HOST:PORT"),
        ("consul://10.0.0.1", "not one HOST:PORT"),
        ("[1]", "is not an address"),
        ('[{"targets": "a"}]', "no list of"),
        ('[{"targets": ["a:1"], "labels": []}, 7]', "no list of"),
        ('["a"]', "no list of"),
        ("\0", "is not an address"),
        ("a" * (2 * 1024 * 1024), "more than"),
    ],
)
async def test_a_file_may_have_anything(text: str, wanted: str, followed: Follow, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(text)
    found = followed(f"file://{tmp_path}/f")
    await soon(lambda: bool(found.problem), "it is refused")
    assert wanted in found.problem


async def test_files_of_prometheus_are_read(followed: Follow, tmp_path: Path) -> None:
    groups = [
        {"targets": [A]},
        {"targets": [B], "labels": {"service": "weft"}},
        {"targets": [C], "labels": {"service": "acme.v1.Greeter"}},
        {"targets": ["127.0.0.9:1"], "labels": {"service": "weft", "ends_at_s": "1.5"}},
    ]
    (tmp_path / "f").write_text(json.dumps(groups))
    found, other = followed(f"file://{tmp_path}/f"), followed(f"file://{tmp_path}/f?service=acme.v1.Greeter")
    await soon(lambda: found.known == {A, B} and other.known == {A, C}, f"{found.known} {other.known}")
