"""deploy/compose.yaml says nothing that weft, Redis or the Dockerfile would not understand: its commands are run here.

No YAML reader is among weft's dependencies. What is looked at is written so that a line says it: a service's name is
indented by two spaces, and a list in brackets is JSON.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import settings_table
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, environment
from tests.support.redis_server import RedisServer
from weft.agent.settings import AgentSettings
from weft.coordinator.settings import CoordinatorSettings

pytestmark = pytest.mark.real_starts

TEXT = (ROOT / "deploy" / "compose.yaml").read_text()
SERVICES = ("redis", "coordinator-1", "coordinator-2", "agent")


def part(name: str) -> str:
    """The lines of a service, or of the part that the coordinators share."""
    found = re.search(
        rf"^(?P<indent>|  )(?:x-)?{name}:.*\n(?P<lines>(?:(?P=indent)  .*\n)+)", TEXT, re.MULTILINE
    )
    assert found is not None, name
    return found["lines"]


def words(name: str, key: str) -> list[str]:
    """A command line of a service."""
    (found,) = re.findall(rf"^ +{key}: (\[.*\])$", part(name), re.MULTILINE)
    return [str(word) for word in json.loads(found)]


def test_services_depend_on_one_another_and_on_the_dockerfile() -> None:
    services = TEXT[TEXT.index("\nservices:\n") : TEXT.index("\nvolumes:\n")]
    assert tuple(re.findall(r"^  ([a-z0-9-]+):$", services, re.MULTILINE)) == SERVICES
    assert "\t" not in TEXT
    stages = re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^ +target: (.*)$", TEXT, re.MULTILINE)) == {"coordinator", "agent"} <= set(stages)
    assert set(re.findall(r"^      ([a-z0-9-]+):\n        condition:", services, re.MULTILINE)) == {
        "coordinator-1",
        "coordinator-2",
    }
    assert all(TEXT.count(f"  {name}:\n    <<: *coordinator\n") == 1 for name in SERVICES[1:3])


def test_commands_and_variables_are_weft_s() -> None:
    command, *flags = words("coordinator", "command")
    assert command == "coordinator"
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    assert set(given) == {"--listen", "--store"}
    settings: dict[str, Any] = {flag.removeprefix("--"): value for flag, value in given.items()}
    assert CoordinatorSettings(**settings).shared_store

    assert words("agent", "command") == ["agent", "examples.corpus.agent:agent"]
    variables = dict(re.findall(r"^ +(WEFT_\w+): \"?(.*?)\"?$", TEXT, re.MULTILINE))
    known = "".join(row[1] for row in settings_table.rows(AgentSettings))
    assert variables
    assert all(f"`{name}`" in known for name in variables)
    targets = AgentSettings(target=variables["WEFT_TARGET"]).target
    assert targets == tuple(f"{name}:7700" for name in SERVICES[1:3])


async def test_redis_takes_its_command(tmp_path: Path) -> None:
    name, *directives = words("redis", "command")
    assert name == "redis-server"
    flags = dict(zip(directives[::2], directives[1::2], strict=True))
    options = {flag.removeprefix("--"): value or '""' for flag, value in flags.items()}
    async with RedisServer(tmp_path / "redis", options=options) as server:
        for key, value in options.items():
            assert await server.command("CONFIG", "GET", key) == {key: value.strip('"')}


@pytest.mark.slow
async def test_health_checks_tell_serving_from_not(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    coordinator, agent = words("coordinator", "test"), words("agent", "test")
    assert (coordinator[0], agent[0]) == ("CMD", "CMD-SHELL")
    here = [word.replace("127.0.0.1:7700", mesh.target) for word in coordinator[1:]]
    assert run(here, mesh) == 0
    assert run(["sh", "-c", agent[1]], mesh) == 1

    await mesh.agent(f"{socket.gethostname()}-4711")
    assert run(["sh", "-c", agent[1]], mesh) == 0

    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    assert run(here, mesh) != 0
    assert run(["sh", "-c", agent[1]], mesh) != 0


def run(command: list[str], mesh: MeshHarness) -> int:
    """Its exit status, in a container's stead: `weft` and `python` are found, and WEFT_TARGET is set."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = environment({"PATH": path, "WEFT_TARGET": mesh.target})
    return subprocess.run(command, env=env, check=False, capture_output=True, timeout=30).returncode
