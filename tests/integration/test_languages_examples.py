"""The examples in Go, Node and Java on their real toolchains: a stock server behind a sidecar, a stock client."""

from __future__ import annotations

import asyncio
import filecmp
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest

from tests.support.languages import EXAMPLES, LANGUAGES, Language, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, Process, until
from tests.support.reflecting import grpcurl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SERVICE = "greeter.v1.GreeterService"
SPOKEN = {"go": "Go", "node": "JavaScript", "java": "Java"}
START_S = 60.0
BUF = Path(sys.executable).parent / "buf"
# Languages whose reflection leaves out options that are not protobuf's own.
LOSE_OPTIONS = frozenset({"node"})
# The same of rules: in Java they are left out of the generated code.
LOSE_RULES = frozenset({"node", "java"})


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    """One of them, built."""
    return LANGUAGES[request.param]()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Process]]:
    """Processes to end."""
    started: list[Process] = []
    yield started
    for process in started:
        process.cleanup()


async def serve(language: Language, servers: list[Process], folder: Path) -> str:
    """Start the stock server; its address."""
    process = Process("server", language.server("127.0.0.1:0"), log=folder / "server.log")
    servers.append(process)
    listening = re.compile(r"listening on (\S+)")
    await until(
        lambda: listening.search(process.output()) is not None or not process.alive,
        "it listens",
        timeout_s=START_S,
    )
    found = listening.search(process.output())
    assert found is not None, process.output()
    return found[1]


async def sidecar(mesh: MeshHarness, servers: list[Process], app: str, folder: Path, *more: str) -> None:
    flags = [
        "--app",
        app,
        "--egress",
        "off",
        "--target",
        mesh.target,
        "--id",
        "sidecar",
        "--slots",
        "4",
        *more,
    ]
    servers.append(Process.weft("sidecar", "agent", *flags, log=folder / "sidecar.log"))
    await mesh.wait_serving(SERVICE)


def descriptors(folder: Path) -> list[str]:
    """Flags with the contract's descriptors, for a sidecar whose app's reflection leaves some of them out."""
    files = folder / "greeter.binpb"
    run([str(BUF), "build", "examples/greeter/protos", "-o", str(files)], ROOT)
    return ["--descriptors", str(files)]


async def greet(target: str, name: str, *flags: str) -> dict[str, str]:
    code, printed = await grpcurl(
        target, [f"{SERVICE}/Greet"], [*flags, "-d", json.dumps({"name": name}), "-format-error"]
    )
    assert code == 0 or "code" in printed, printed
    found: dict[str, str] = json.loads(printed)
    return found


async def test_the_server_is_a_stock_one(language: Language, servers: list[Process], tmp_path: Path) -> None:
    address = await serve(language, servers, tmp_path)
    code, printed = await grpcurl(address, ["list"])
    assert code == 0, printed
    assert SERVICE in printed.split()
    assert await greet(address, "Ada") == {"text": "Hello Ada", "language": SPOKEN[language.name]}
    assert await servers[0].terminate() in {0, 143}, "it ends when it is told to"


async def test_the_server_behind_a_sidecar(
    language: Language, mesh: MeshHarness, servers: list[Process], tmp_path: Path
) -> None:
    await mesh.coordinator()
    await sidecar(mesh, servers, await serve(language, servers, tmp_path), tmp_path)
    for mode in ("durable", "direct"):
        reply = await greet(mesh.target, "Ada", "-H", f"weft-mode: {mode}")
        assert reply == {"text": "Hello Ada", "language": SPOKEN[language.name]}, mode
        refused = await greet(mesh.target, "", "-H", f"weft-mode: {mode}")
        assert (refused["code"], refused["message"]) == (3, "the request has no name"), mode
        code, printed = await grpcurl(
            mesh.target,
            [f"{SERVICE}/GreetOften"],
            ["-H", f"weft-mode: {mode}", "-d", '{"name": "Ada", "times": 3}'],
        )
        assert code == 0, printed
        assert re.findall(r"Hello Ada, number \d", printed) == [
            f"Hello Ada, number {n}" for n in (1, 2, 3)
        ], mode


async def test_the_options_in_a_proto(
    language: Language, mesh: MeshHarness, servers: list[Process], tmp_path: Path
) -> None:
    """Neither the server nor its callers have weft in them: the contract says how calls run."""
    more = descriptors(tmp_path) if language.name in LOSE_OPTIONS else []
    await mesh.coordinator()
    await sidecar(mesh, servers, await serve(language, servers, tmp_path), tmp_path, *more)

    code, printed = await grpcurl(mesh.target, ["describe", f"{SERVICE}.Greet"])
    assert code == 0, printed
    assert "option idempotency_level = IDEMPOTENT;" in printed
    assert 'idempotency_key: "metadata[\\"x-order\\"]"' in printed

    async with grpc.aio.insecure_channel(mesh.target) as channel:
        greet = channel.unary_unary(f"/{SERVICE}/Greet")

        async def task(name: str, *metadata: tuple[str, str]) -> tuple[str, str]:
            """The id of a call's task, and the number of its last attempt."""
            call = greet(b"\x0a" + bytes([len(name)]) + name.encode(), timeout=60, metadata=metadata)
            await call
            trailers = dict(await call.trailing_metadata())
            return trailers["weft-task-id"], trailers["weft-attempt"]

        # Retries: it fails twice, and nothing of that comes to the caller.
        assert (await task("Grumpy"))[1] == "3"
        # The key: a second call with the same order is the same task.
        first, again, other = [await task("Ada", ("x-order", order)) for order in ("1", "1", "2")]
        assert first == again != other
        # The limit, by name: five at once, and five more take a second; other names have a limit of their own.
        began = time.monotonic()
        tasks = await asyncio.gather(*(task("Eve") for _ in range(10)), *(task(f"Eve{n}") for n in range(10)))
        assert time.monotonic() - began > 0.8
        assert len(set(tasks)) == 20


async def test_the_rules_in_a_proto(
    language: Language, mesh: MeshHarness, servers: list[Process], tmp_path: Path
) -> None:
    """The contract says which values are good: the server checks none, and its callers have no weft in them."""
    more = descriptors(tmp_path) if language.name in LOSE_RULES else []
    await mesh.coordinator()
    await sidecar(mesh, servers, await serve(language, servers, tmp_path), tmp_path, *more)
    for mode in ("durable", "direct"):
        flags = ("-H", f"weft-mode: {mode}")
        assert (await greet(mesh.target, "A" * 44, *flags))["text"] == "Hello " + "A" * 44, mode
        # Too long a name for the request, and one that makes the response too long.
        for length, code, reason, field in (
            (51, 3, "RULES_VIOLATED", "name"),
            (45, 13, "RESULT_RULES_VIOLATED", "text"),
        ):
            refused = await greet(mesh.target, "A" * length, *flags)
            assert refused["code"] == code, (mode, refused)
            told = json.dumps(refused)
            assert all(each in told for each in (f'"{reason}"', f'"{field}"', "string.max_len")), told


async def test_the_client_of_a_python_agent(language: Language, mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("corpus", program="examples.corpus.agent:agent")
    await mesh.wait_serving("corpus.v1.CorpusService")
    file = EXAMPLES / "corpus" / "agent.py"
    process = await asyncio.create_subprocess_exec(
        *language.client(mesh.target, file), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, printed.decode()
    lines = len(file.read_text().splitlines())
    durable, direct = printed.decode().splitlines()
    says = rf"agent.py has {lines} lines and 0 functions, says agent \[corpus\], task"
    assert re.fullmatch(rf"durable: {says} \[\S+\]", durable), durable
    assert re.fullmatch(rf"direct: {says} \[\]", direct), direct


def test_the_generated_code_is_that_of_the_protos(language: Language, tmp_path: Path) -> None:
    fresh, committed = language.generate(tmp_path), EXAMPLES / language.name / "gen"
    names = {path.relative_to(folder) for folder in (fresh, committed) for path in folder.rglob("*.*")}
    stale = [
        str(name)
        for name in sorted(names)
        if not (fresh / name).exists()
        or not (committed / name).exists()
        or not filecmp.cmp(fresh / name, committed / name, shallow=False)
    ]
    assert names
    assert not stale, f"run `buf generate` in examples/{language.name}"


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_program_has_less_than_a_hundred_lines(name: str) -> None:
    folder = EXAMPLES / name
    sources = [folder / "server" / "main.go", folder / "client" / "main.go"] if name == "go" else []
    sources += [*folder.glob("*.js"), *folder.glob("src/**/*.java")]
    assert len(sources) == 2
    for source in sources:
        assert len(source.read_text().splitlines()) < 100, source
