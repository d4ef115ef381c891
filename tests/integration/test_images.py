"""Whole images: built as `make images` does, twice to the same digest, and run by podman: any user, a read-only root, little memory, process 1."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import images
from tests.support.containers import Containers, need_containers, podman
from tests.support.processes import ROOT, until
from tests.support.soak import soak

pytestmark = [pytest.mark.slow, soak]

BASE = "docker.io/library/python:3.13-slim"
# The base with what a network of one's own asks for, such as certificates: the Dockerfile's BUILDER.
BUILDER = "localhost/weft-builder"
METHOD = "corpus.v1.CorpusService/Analyze"
SOURCE = '{"fileName": "a.py", "source": "eCA9IDE="}'
MEMORY = "128m"


@pytest.fixture(scope="module", autouse=True)
def _isolation() -> Iterator[None]:
    """One that works in a container, too."""
    with pytest.MonkeyPatch.context() as patched:
        if "BUILDAH_ISOLATION" not in os.environ:
            patched.setenv("BUILDAH_ISOLATION", "chroot")
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, images.Built]:
    """All three, in archives and as local images."""
    podman()
    engine = next((each for each in ("buildah", "podman") if shutil.which(each)), "")
    if not engine or not exists(BASE):
        pytest.skip(
            f"needs buildah or podman, and the image {BASE}, or one of its name: docs/deploy/images.md"
        )
    folder = tmp_path_factory.mktemp("images")
    found = {name: build(engine, name, folder) for name in images.EXTRAS}
    need_containers(local("coordinator"))
    return found


def exists(image: str) -> bool:
    done = subprocess.run([*podman(), "image", "exists", image], check=False)
    return done.returncode == 0


def build(engine: str, name: str, folder: Path) -> images.Built:
    options = ["--build-arg", f"BUILDER={BUILDER if exists(BUILDER) else BASE}", "--pull=false"]
    images.write_image(engine, name, images.this_architecture(), folder / f"{name}.tar", options)
    found = images.read_archive(folder / f"{name}.tar")
    images.check(found, images.this_architecture())
    return found


def local(name: str) -> str:
    return f"localhost/weft-{name}:{images.version()}"


@pytest.fixture
def box(built: dict[str, images.Built]) -> Iterator[Containers]:
    with Containers(f"weft-test-{os.getpid()}") as containers:
        yield containers


def healthy(box: Containers, name: str) -> bool:
    """Run the image's health check, which archives do not have."""
    stage = re.split(
        r"^FROM ", (ROOT / "Dockerfile").read_text().split(f" AS {name}\n")[1], flags=re.MULTILINE
    )[0]
    (check,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", stage, re.MULTILINE)
    return box.inside(name, *json.loads(check)).returncode == 0


async def start_coordinator(box: Containers, folder: Path) -> None:
    """With a volume of user 4711, and no more memory than it needs."""
    (volume := folder / "data").mkdir()
    os.chown(volume, 4711, 4711)
    options = ("--volume", f"{volume}:/var/lib/weft", "--memory", MEMORY, "--env", "WEFT_INSECURE=true")
    box.run("coordinator", local("coordinator"), options=options)
    await until(lambda: healthy(box, "coordinator"), "the coordinator is healthy", timeout_s=60)


def answer(box: Containers) -> Any:
    done = box.inside("coordinator", "weft", "call", METHOD, SOURCE, "--timeout", "30")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def end(box: Containers, name: str) -> None:
    """As an engine does."""
    box.signal(name, "TERM")
    assert box.ended(name) == 0, box.logs(name)


async def test_a_task_goes_through_all_of_them(box: Containers, tmp_path: Path) -> None:
    await start_coordinator(box, tmp_path)
    env = ("--env", "WEFT_TARGET=127.0.0.1:7700", "--env", "WEFT_INSECURE=true", "--memory", MEMORY)
    box.run("agent", local("agent"), options=env, network_of="coordinator")
    await until(lambda: healthy(box, "agent"), "the agent is healthy", timeout_s=60)
    assert answer(box)["fileName"] == "a.py"
    await end(box, "agent")
    # The same method, by a stock server behind the sidecar.
    server = ("--entrypoint", '["python", "-m", "examples.corpus.server"]')
    box.run("app", local("agent"), "127.0.0.1:50051", options=server, network_of="coordinator")
    box.run("sidecar", local("sidecar"), options=env, network_of="coordinator")
    await until(lambda: healthy(box, "sidecar"), "the sidecar is healthy", timeout_s=60)
    assert answer(box)["fileName"] == "a.py"
    for name in ("sidecar", "app", "coordinator"):
        await end(box, name)
    assert "coordinator.stopped" in box.logs("coordinator")


@pytest.mark.parametrize("name", images.EXTRAS)
def test_nothing_is_written_and_nothing_compiled(name: str, box: Containers) -> None:
    box.run("one", local(name), "60", options=("--entrypoint", '["sleep"]'))
    told = box.inside(
        "one", "sh", "-c", "id -u; touch /x /opt/weft/x /tmp/x /var/lib/weft/x; ls /x /opt/weft/x /tmp/x"
    )
    assert told.stdout == "4711\n"
    told = box.inside("one", "python", "-v", "-c", "import asyncio, json, weft.cli.main")
    assert "site-packages/weft/cli/__pycache__" in told.stderr
    # What has been compiled is read from a file *.pyc.
    assert re.findall(r"code object from '[^']*\.py'", told.stderr) == []


def test_the_same_commit_makes_the_same_digest(built: dict[str, images.Built], tmp_path: Path) -> None:
    engine = "buildah" if shutil.which("buildah") else "podman"
    assert build(engine, "sidecar", tmp_path).digest == built["sidecar"].digest
