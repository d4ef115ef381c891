"""The options proto is installed with weft: users' protoc and buf find it, and their contracts have the options."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT, environment
from weft.protos import include_path
from weft.rpc.contracts import descriptors, policy_options

BIN = Path(sys.executable).parent
CONTRACT = """\
syntax = "proto3";
package acme.v1;
import "weft/v1/options.proto";
message Charged { string order_id = 1; }
service Billing {
  rpc Charge(Charged) returns (Charged) {
    option (weft.v1.task) = {priority: 7 idempotency_key: "order_id"};
  }
}
"""


def run(folder: Path, *words: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project with a contract that imports the options."""
    proto = tmp_path / "project" / "proto" / "acme" / "v1" / "billing.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text(CONTRACT)
    return tmp_path / "project"


def has_options(descriptor_set: Path) -> bool:
    pool = descriptors.build_pool(descriptors.PlainFileSet.FromString(descriptor_set.read_bytes()).file)
    policies = policy_options.policies_of(pool.FindServiceByName("acme.v1.Billing").file)
    return policies["acme.v1.Billing/Charge"].priority == 7


def protoc(project: Path, include: str) -> None:
    flags = [
        "-I",
        "proto",
        "-I",
        include,
        "--include_imports",
        "--descriptor_set_out=set.binpb",
        "--python_out=gen",
    ]
    (project / "gen").mkdir()
    run(project, sys.executable, "-m", "grpc_tools.protoc", *flags, "acme/v1/billing.proto")
    assert has_options(project / "set.binpb")


def test_protoc_finds_it(project: Path) -> None:
    protoc(project, run(project, sys.executable, "-m", "weft.protos").strip())
    # The generated module imports weft's own.
    load = "from acme.v1 import billing_pb2 as b; print(b.DESCRIPTOR.services_by_name['Billing'].methods[0].GetOptions())"
    assert "priority: 7" in run(project, sys.executable, "-c", load, PYTHONPATH=str(project / "gen"))


def test_buf_finds_a_copy(project: Path) -> None:
    copies = run(project, sys.executable, "-m", "weft.protos", "--copy", "third_party/weft").split()
    assert copies == [f"third_party/weft/{name}" for name in ("buf.yaml", "weft/v1/options.proto")]
    (project / "buf.yaml").write_text("version: v2\nmodules:\n  - path: proto\n  - path: third_party/weft\n")
    run(project, BIN / "buf", "build", "-o", "set.binpb")
    assert has_options(project / "set.binpb")
    # The installed folder is a module by itself.
    run(project, BIN / "buf", "build", include_path(), "-o", "own.binpb")
    # Again, over the older copies.
    assert run(project, sys.executable, "-m", "weft.protos", "--copy", "third_party/weft").split() == copies


def test_a_copy_that_cannot_be_written(project: Path) -> None:
    (project / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "weft.protos", "--copy", "file"],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cannot copy to file")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_wheel_has_it(project: Path, tmp_path: Path) -> None:
    run(ROOT, BIN / "uv", "build", "--wheel", "--out-dir", tmp_path / "dist", UV_SYSTEM_CERTS="1")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path / "installed")
    # Without any other package: -S leaves out this environment's own.
    found = run(
        project, sys.executable, "-S", "-m", "weft.protos", PYTHONPATH=str(tmp_path / "installed")
    ).strip()
    assert found.startswith(str(tmp_path / "installed") + os.sep)
    protoc(project, found)
