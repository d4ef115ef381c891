"""Stock clients of gRPC that find agents by xDS: real ones, in processes of their own, with real coordinators and agents."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.beside import free_address
from tests.support.command import weft
from tests.support.joined_mesh import variables_in
from tests.support.languages import Language, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, Process, until
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2

pytestmark = pytest.mark.slow

WAIT_S = 60.0


GUIDE = ROOT / "docs" / "deploy" / "xds.md"


def bootstrap(target: str, folder: Path | None = None) -> dict[str, Any]:
    """A client's bootstrap file, as the guide has it, for another address.

    Args:
        folder: of its certificates; None: it has none.
    """
    found = [
        each
        for each in re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        if "xds_servers" in each
    ]
    text = found[0] if folder is None else found[1].replace("files/", f"{folder}/")
    made: dict[str, Any] = json.loads(text)
    made["xds_servers"][0]["server_uri"] = target
    return made


class Caller:
    """A stock client that calls without end."""

    def __init__(self, folder: Path, command: list[str], boots: dict[str, Any], name: str = "caller") -> None:
        file = folder / f"{name}.json"
        file.write_text(json.dumps(boots))
        self.process = Process(
            name, command, log=folder / f"{name}.log", env={"GRPC_XDS_BOOTSTRAP": str(file)}
        )
        self._read = 0

    @classmethod
    def python(cls, folder: Path, boots: dict[str, Any], *args: str, name: str = "caller") -> Caller:
        return cls(folder, [sys.executable, "-m", "tests.support.xds_caller", *args], boots, name)

    def lots(self) -> list[dict[str, dict[str, int]]]:
        return [
            json.loads(line) for line in self.process.output().splitlines() if line.startswith('{"answers"')
        ]

    def forget(self) -> None:
        """Count from now on."""
        self._read = len(self.lots())

    def answers(self) -> Counter[str]:
        """How many calls each agent has answered since `forget`."""
        return sum((Counter(lot["answers"]) for lot in self.lots()[self._read :]), Counter())

    def failures(self) -> Counter[str]:
        """All calls that have failed."""
        return sum((Counter(lot["failures"]) for lot in self.lots()), Counter())

    async def until(self, what: str, condition: Callable[[Counter[str]], bool]) -> Counter[str]:
        """Wait until the answers since `forget` are so. Returns them."""

        def reached() -> bool:
            assert self.process.alive, self.process.output()
            return condition(self.answers())

        try:
            await until(reached, what, timeout_s=WAIT_S)
        except TimeoutError as error:
            raise AssertionError(
                f"{error}: {self.answers()}, {self.failures()}; {self.process.output()[-2000:]}"
            ) from error
        return self.answers()

    async def later(self, lots: int = 3) -> Counter[str]:
        """The answers of the next lots: those that are under way may be older."""
        read = len(self.lots())
        await until(lambda: len(self.lots()) > read, "a lot ends", timeout_s=WAIT_S)
        self.forget()
        return await self.until("further lots", lambda _: len(self.lots()) >= self._read + lots)


@pytest.fixture
async def callers() -> AsyncIterator[list[Caller]]:
    started: list[Caller] = []
    yield started
    for caller in started:
        caller.process.cleanup()


async def drain(mesh: MeshHarness, agent_id: str, *, on: bool = True) -> None:
    state = fleet_pb2.DESIRED_STATE_DRAINING if on else fleet_pb2.DESIRED_STATE_ACTIVE
    await mesh.api().UpdateAgent(api.UpdateAgentRequest(agent_id=agent_id, desired_state=state), timeout=20)


async def test_python_goes_straight_to_agents(
    mesh: MeshHarness, callers: list[Caller], tmp_path: Path
) -> None:
    """Calls follow slots; agents come, drain, die and return; the coordinator dies and returns."""
    await mesh.coordinator(xds="true")
    await mesh.agent("small", slots=4)
    await mesh.agent("large", slots=12)
    caller = Caller.python(tmp_path, bootstrap(mesh.target))
    callers.append(caller)
    await caller.until("both answer", lambda answers: min(answers["small"], answers["large"]) > 0)
    shares = await caller.later(lots=10)
    assert 0.6 < shares["large"] / shares.total() < 0.9, shares

    await mesh.agent("third", slots=4)
    await caller.until("a new agent answers", lambda answers: answers["third"] > 0)

    caller.forget()
    await drain(mesh, "large")
    assert set(await caller.later()) == {"small", "third"}
    await drain(mesh, "large", on=False)
    await caller.until("it takes calls again", lambda answers: answers["large"] > 0)

    assert await mesh.agents["third"].terminate() == 0
    assert set(await caller.later()) == {"small", "large"}
    assert not caller.failures()

    await mesh.agents["large"].kill()
    assert set(await caller.later()) == {"small"}

    failed = caller.failures()
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    assert set(await caller.later()) == {"small"}, "it goes on with what it knows"
    await mesh.restart_coordinator()
    await mesh.agent("fourth")
    await caller.until("it follows again", lambda answers: answers["fourth"] > 0)
    assert caller.failures() == failed


class GoXds(Language):
    """The build of a stock client in Go."""

    name = "go_xds"
    tools = (("go", "version", (1, 24)),)
    sources = ("tests/support/go_xds",)

    def build(self, folder: Path) -> None:
        run(["go", "build", "-o", str(folder / "caller"), "."], folder / self.sources[0])


@pytest.mark.timeout(600)
async def test_go_goes_straight_to_agents(mesh: MeshHarness, callers: list[Caller], tmp_path: Path) -> None:
    """gRPC's other implementation reads the same answers: calls follow slots, and a drained agent gets none."""
    built = GoXds().built
    await mesh.coordinator(xds="true")
    await mesh.agent("small", slots=4)
    await mesh.agent("large", slots=12)
    caller = Caller(tmp_path, [str(built / "caller")], bootstrap(mesh.target))
    callers.append(caller)
    await caller.until("both answer", lambda answers: min(answers["small"], answers["large"]) > 0)
    shares = await caller.later(lots=10)
    assert 0.6 < shares["large"] / shares.total() < 0.9, shares
    await drain(mesh, "large")
    assert set(await caller.later()) == {"small"}
    await mesh.agent("third")
    await caller.until("a new agent answers", lambda answers: answers["third"] > 0)
    assert await mesh.agents["third"].terminate() == 0
    assert set(await caller.later()) == {"small"}
    assert not caller.failures()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", ["python", "go"])
async def test_with_certificates(
    mesh: MeshHarness, callers: list[Caller], tmp_path: Path, language: str
) -> None:
    """In a mesh that makes its certificates: a certificate proves who asks, a token who calls, and agents are
    verified by their names."""
    operator, join = tmp_path / "operator.token", tmp_path / "mesh.join"
    await mesh.coordinator(
        xds="true",
        tokens="on",
        ca="auto",
        join_listen=free_address(),
        join_file=join,
        operator_token_file=operator,
    )
    known = variables_in(join)

    async def command(*words: str, token: Path = operator) -> None:
        done = await weft(*words, env=known | {"WEFT_TOKEN_FILE": str(token)})
        assert done.status == 0, done.err

    async def member(role: str, *scope: str) -> dict[str, str]:
        file = tmp_path / f"{role}.env"
        await command("tokens", "create", "--role", role, *scope, "--join", "--out", str(file))
        return variables_in(file)

    hosting = await member("agent")
    for name in ("a1", "a2"):
        await mesh.agent(name, env=hosting, wait=False)
    shown = tmp_path / "client.token"
    methods = ("--methods", "envoy.*", "--methods", "probe.v1.*")
    token = (await member("client", *methods))["WEFT_TOKEN"]
    shown.write_text(token)
    shown.chmod(0o600)
    await command("certs", "join", str(tmp_path / "files"), token=shown)
    boots = bootstrap(mesh.target, tmp_path / "files")
    if language == "python":
        caller = Caller.python(tmp_path, boots, token)
    else:
        caller = Caller(tmp_path, [str(GoXds().built / "caller"), token], boots)
    callers.append(caller)
    await caller.until("both answer", lambda answers: len(answers) == 2)
    await mesh.agents["a1"].terminate()
    assert set(await caller.later()) == {"a2"}
