"""The files of deploy/compose say nothing that weft, Redis or the Dockerfile would not understand, and each is run here, as processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import settings_table
from tests.support.command import weft
from tests.support.compose_project import ComposeProject, stages
from tests.support.processes import ROOT
from tests.support.redis_server import RedisServer
from weft.agent.settings import AgentSettings
from weft.agent.sidecar.sidecar_settings import SidecarSettings
from weft.coordinator.settings import CoordinatorSettings

FOLDER = ROOT / "deploy" / "compose"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
SOURCE = '{"fileName": "a.py", "source": "eCA9IDE="}'
SETTINGS = (AgentSettings, SidecarSettings, CoordinatorSettings)


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / name).read_text())["services"]
    return found


def test_the_files_are_these() -> None:
    assert FILES == ["one-machine.yaml", "redis.yaml", "sidecar.yaml", "tls.yaml"]


@pytest.mark.parametrize("name", FILES)
def test_what_is_built_is_a_stage_and_what_is_set_is_a_setting(name: str) -> None:
    known = "".join(row[1] for kind in SETTINGS for row in settings_table.rows(kind))
    for service in services(name).values():
        build = service.get("build")
        assert build is None or build["target"] in stages()
        assert build is None or (FOLDER / build["context"]).resolve() == ROOT
        assert all(f"`{key}`" in known for key in service.get("environment", {}))


@pytest.mark.parametrize("name", FILES)
def test_containers_may_do_little_and_have_the_time_to_end(name: str) -> None:
    for service in services(name).values():
        if "build" not in service:
            continue
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        if "agent" in service.get("command", ()):
            grace_s = float(service["stop_grace_period"].removesuffix("s"))
            assert grace_s > AgentSettings.model_fields["drain_grace_s"].default


async def test_redis_takes_its_command(tmp_path: Path) -> None:
    name, *directives = services("redis.yaml")["redis"]["command"]
    assert name == "redis-server"
    flags = dict(zip(directives[::2], directives[1::2], strict=True))
    options = {flag.removeprefix("--"): value or '""' for flag, value in flags.items()}
    async with RedisServer(tmp_path / "redis", options=options) as server:
        for key, value in options.items():
            assert await server.command("CONFIG", "GET", key) == {key: value.strip('"')}


@pytest.mark.slow
@pytest.mark.real_starts
@pytest.mark.parametrize("name", FILES)
async def test_a_file_runs_is_healthy_and_ends(name: str, tmp_path: Path) -> None:
    async with ComposeProject(FOLDER / name, tmp_path) as project:
        await project.start()
        coordinator = next(each for each in project.services if each.startswith("coordinator"))
        variables = {"WEFT_TARGET": project.address(coordinator, 7700)}
        if name == "tls.yaml":
            folder = tmp_path / "volumes" / "weft-data"
            joined = (folder / "join.env").read_text().split()
            variables |= dict(line.split("=", 1) for line in joined)
            variables |= {"WEFT_TOKEN_FILE": str(folder / "operator.token")}
        for flags in ([], ["--direct"]):
            call = ("call", "corpus.v1.CorpusService/Analyze", SOURCE, *flags)
            answer = await weft(*call, env=variables)
            assert answer.document["fileName"] == "a.py", answer.err
        agents = (await weft("agents", "list", "--json", env=variables)).document
        expected = sum(len(project.processes.get(kind, ())) for kind in ("agent", "sidecar"))
        assert len([agent for agent in agents if agent["state"] == "ACTIVE"]) == expected

        # Its check sees when it does not serve.
        await project.processes[coordinator][0].kill()
        assert not await asyncio.to_thread(project.healthy, coordinator)
        project.launch(coordinator)
        await project.reached(coordinator, "service_healthy")
        statuses = await project.stop()
        assert {status for each in statuses.values() for status in each} == {0}
