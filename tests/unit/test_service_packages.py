"""Services that agents host by their names: weft's own, those of other distributions, and broken ones."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import layout
from weft.agent import Agent, LoadError, ProgramError, SettingsError
from weft.agent.program.loader import load
from weft.agent.program.service_packages import (
    add_services,
    installed_services,
    load_service,
    service_settings,
)

MODULE = """
from weft.agent import ServicePackage
from weft.rpc.process.file_settings import FileSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from google.protobuf.wrappers_pb2 import StringValue

class OutsideSettings(FileSettings):
    model_config = SettingsConfigDict(env_prefix="WEFT_OUTSIDE_", extra="forbid")
    table = "services.outside"
    most: int = Field(3, ge=1, le=9, description="how many")

def add_to(agent, settings):
    @agent.method("acme.v1.Outside/Most")
    async def most(request: StringValue) -> StringValue:
        return StringValue(value=str(settings.most))

package = ServicePackage("outside", add_to, OutsideSettings)
text = "x"

def fail(agent, settings):
    raise RuntimeError("the sensor is away")

failing = ServicePackage("failing", fail, OutsideSettings)
"""
ENTRIES = """
[weft.services]
outside = outside_service:package
text = outside_service:text
failing = outside_service:failing
missing = no_such_module_at_all:package
broken = broken_service:package
hardware = outside_service:package
"""


@pytest.fixture(autouse=True)
def _outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another distribution, which has services."""
    info = tmp_path / "acme_outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "outside_service.py").write_text(MODULE)
    (tmp_path / "broken_service.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    for name in ("outside_service", "broken_service"):
        sys.modules.pop(name, None)


def test_a_service_of_another_distribution_is_hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent()
    add_services(agent, ["outside", "outside"])
    assert agent.methods == ["acme.v1.Outside/Most"]
    assert service_settings()["services.outside"].__name__ == "OutsideSettings"

    monkeypatch.setenv("WEFT_OUTSIDE_MOST", "10")
    with pytest.raises(SettingsError, match=r"outside setting most: .* from 1 to 9 \(environment WEFT_OUTS"):
        add_services(Agent(), ["outside"])


def test_wefts_own_services_keep_their_names() -> None:
    assert installed_services()["hardware"].value == "weft.services.hardware:package"


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        (
            "outsid",
            LoadError,
            r"there is no service 'outsid'; installed: .*broken, .*; did you mean outside\?",
        ),
        ("", LoadError, "there is no service ''; installed: .*broken, "),
        ("text", LoadError, r"\(outside_service:text\) is a str, not a weft.agent.ServicePackage"),
        ("missing", ProgramError, "cannot be imported: ModuleNotFoundError: No module named 'no_such"),
        ("broken", ProgramError, "cannot be imported: ZeroDivisionError: division by zero\nFile "),
        ("failing", ProgramError, "failing cannot be hosted: RuntimeError: the sensor is away"),
    ],
)
def test_what_is_wrong_with_a_service_is_said(name: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        add_services(Agent(), [name])


def test_a_service_that_the_program_hosts_already() -> None:
    agent = Agent()
    load_service("outside").host(agent)
    with pytest.raises(ProgramError, match=r"cannot be hosted: acme\.v1.Outside/Most is hosted"):
        add_services(agent, ["outside"])


def test_the_module_of_a_service_has_an_agent(own_import_path: None) -> None:
    made = load("weft.services.hardware:agent")
    assert {each.partition("/")[0] for each in made.methods} == {"weft.services.hardware.v1.HardwareService"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "used"), [("tests/support/gen", "buf.validate.validate_pb2"), ("", "weft.rules.validate_pb2")]
)
def test_the_rules_are_those_of_the_program_or_else_wefts_own(path: str, used: str) -> None:
    """Two versions of one file cannot be in a process: a program that has generated it keeps its own."""
    code = "import sys, weft.services.hardware.v1.hardware_pb2; print([each for each in sys.modules if 'validate_pb2' in each])"
    where = os.environ | {"PYTHONPATH": str(layout.ROOT / path) if path else ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=where, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str([used])
