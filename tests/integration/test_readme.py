"""The README's programs, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import grpc_tools
import pytest
from grpc_tools import protoc

from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, environment

README = (ROOT / "README.md").read_text()
DEFAULT_TARGET = "127.0.0.1:7700"


def block(first_line: str) -> str:
    """The fenced block of the README that begins with this line."""
    for text in re.findall(r"```\w+\n(.*?)```", README, re.DOTALL):
        if text.startswith(first_line + "\n"):
            return text
    raise AssertionError(f"the README has no block that begins with {first_line!r}")


@pytest.fixture
async def folder(mesh: MeshHarness, tmp_path: Path) -> Path:
    """A folder with the README's files, their messages generated, beside a coordinator with both agents."""
    found = tmp_path / "project"
    proto = found / "acme" / "v1" / "greeter.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text(block("// acme/v1/greeter.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    flags = [f"-I{found}", f"-I{well_known}", f"--python_out={found}", f"--grpc_python_out={found}"]
    assert protoc.main(["protoc", *flags, str(proto)]) == 0
    await mesh.coordinator()
    for name in ("worker.py", "hello.py", "call_sync.py", "call_aio.py"):
        (found / name).write_text(block(f"# {name}").replace(DEFAULT_TARGET, mesh.target))
    for name in ("worker", "hello"):
        await mesh.agent(name, program=f"{name}:agent", env={"PYTHONPATH": str(found)})
    await mesh.wait_serving("acme.v1.Greeter")
    await mesh.wait_serving("acme.v1.Shouter")
    return found


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env=environment({"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_programs(folder: Path, mesh: MeshHarness) -> None:
    assert run(folder, "call_sync.py") == "Hello Ada\n"
    first, second = run(folder, "call_aio.py").splitlines()
    assert first == "Hello Ada"
    assert second.endswith("Hello Grace")
    shouted = run(
        folder,
        *("-m", "weft.cli.main", "call", "acme.v1.Shouter/Shout", '{"text": "ada"}', "--target", mesh.target),
    )
    assert '"ADA"' in shouted


def test_the_servicer_has_ten_lines() -> None:
    lines = block("# worker.py").splitlines()
    assert len(lines) == 10
    assert sum("agent" in line.lower() for line in lines) == 3


def test_every_link_leads_somewhere() -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    broken = [
        f"{file.relative_to(ROOT)}: {target}"
        for file in files
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text())
        if "://" not in target and not (file.parent / target).exists()
    ]
    assert broken == []
