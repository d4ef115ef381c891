"""The extras: a client needs the base alone, and each other part says what to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from scripts import layout
from weft.rpc.process.extras import REQUIRED, install_command

NAME = re.compile(r"[\w.-]+")


def closure(extras: Iterable[str]) -> set[str]:
    """The installed distributions that weft needs with these extras."""
    found: set[str] = set()
    left = [("weft", tuple(extras))]
    while left:
        name, with_extras = left.pop()
        for requirement in metadata.requires(name) or ():
            needed, _, marker = requirement.partition(";")
            extra = re.search(r"extra == ['\"](.+?)['\"]", marker)
            if extra is not None and extra[1] not in with_extras:
                continue
            named = NAME.match(needed)
            assert named
            if named[0] in found or not is_installed(named[0]):
                continue
            found.add(named[0])
            asked = re.search(r"\[(.+?)\]", needed)
            left.append((named[0], tuple(asked[1].split(",")) if asked else ()))
    return found


def is_installed(name: str) -> bool:
    """Whether a distribution is here; one is not that is for other systems or other Pythons."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def tops(name: str) -> Iterator[Path]:
    """The files and folders that a distribution has in site-packages."""
    distribution = metadata.distribution(name)
    names = {file.parts[0] for file in distribution.files or () if file.parts[0] not in {"..", "__pycache__"}}
    return (Path(str(distribution.locate_file(each))) for each in names)


def environment(folder: Path, *extras: str) -> Path:
    """A Python that has weft and what it needs with these extras, and nothing else."""
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    for name in closure(extras):
        for top in tops(name):
            if not (packages / top.name).exists():
                (packages / top.name).symlink_to(top)
    roots = "\n".join(str(layout.ROOT / source) for source in layout.SOURCES)
    (packages / "weft.pth").write_text(f"{roots}\n")
    info = Path(str(metadata.distribution("weft").locate_file(f"weft-{metadata.version('weft')}.dist-info")))
    (packages / info.name).symlink_to(info)
    return folder / "bin" / "python"


def settings(**of_weft: str) -> dict[str, str]:
    """This process' environment with these variables of weft, and no others: the tests have some of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WEFT_")} | of_weft


def run(python: Path, *arguments: str, **of_weft: str) -> subprocess.CompletedProcess[str]:
    env = settings(**of_weft)
    return subprocess.run(
        [python, *arguments], check=False, capture_output=True, text=True, timeout=60, env=env
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("base") / "venv")


def test_the_base_is_what_a_client_needs(base: Path) -> None:
    done = run(base, "-c", "import weft.client, weft.client.sync; print(weft.client.__version__)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("extra", ["agent", "coordinator"])
def test_a_part_says_what_to_install(base: Path, extra: str) -> None:
    done = run(base, "-c", f"import weft.{extra}")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("weft.rpc.process.extras.MissingExtra: ")
    assert f"weft.{extra} needs packages that are not installed (grpc_health, " in last
    assert last.endswith(install_command(extra))


def test_the_command_says_what_to_install(base: Path) -> None:
    done = run(base, "-m", "weft", "--help")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("weft: weft.cli needs packages that are not installed (")
    assert line.endswith(install_command("cli"))


@pytest.mark.slow
def test_the_command_without_agent_and_coordinator(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", "cli")
    for words in (["--help"], ["tasks", "list", "--help"], ["call", "--help"], ["version"]):
        assert run(python, "-m", "weft", *words).returncode == 0
    # The settings of parts that are not installed are unknown: no variable is called wrong.
    assert run(python, "-m", "weft", "version", WEFT_AGENT_IDD="a1").stderr == ""
    code = "import weft.cli.commands.{0}_command"
    for name in ("agents", "call", "queues", "schedules", "submit", "tasks"):
        done = run(python, "-c", code.format(name))
        assert (done.returncode, done.stderr) == (0, "")
    for words, extra in ((["coordinator"], "coordinator"), (["agent", "a:b"], "agent")):
        done = run(python, "-m", "weft", *words)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"weft: weft.{extra} needs packages")


def test_a_service_says_what_to_install(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", "agent", "cli")
    done = run(python, "-m", "weft", "agent", "--with", "hardware")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("weft: weft.services.hardware needs packages that are not installed (pynvml): ")
    assert line.endswith(install_command("hardware"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "module"), [("agent", "weft.agent.runtime"), ("coordinator", "weft.coordinator.server")]
)
def test_an_extra_is_all_that_its_part_needs(tmp_path: Path, extra: str, module: str) -> None:
    python = environment(tmp_path / "venv", extra)
    done = run(python, "-c", f"import {module}")
    assert (done.returncode, done.stderr) == (0, "")


def test_all_is_every_extra() -> None:
    assert {*REQUIRED, "filters", "pools", "reload", "telemetry", "all"} == set(
        metadata.metadata("weft").get_all("Provides-Extra") or ()
    )
    each = {
        package
        for extra in (*REQUIRED, "filters", "pools", "reload", "telemetry")
        for package in packages_of(extra)
    }
    assert packages_of("all") == each


def packages_of(extra: str) -> set[str]:
    return set(re.findall(r"'(.+?)'", install_command(extra)))


def loaded(*arguments: str) -> set[str]:
    """The modules that this environment's Python has loaded at the end of a run."""
    code = f"import sys, runpy; sys.argv[1:] = {arguments[1:]!r}\ntry:\n {arguments[0]}\nexcept SystemExit:\n pass\n"
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=settings(),
    )
    return set(done.stderr.split())


# How long an import takes depends on the machine; how many modules it loads does not.
def test_a_client_loads_little() -> None:
    modules = loaded("import weft.client")
    of_others = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert not of_others & {
        "pydantic",
        "psutil",
        "opentelemetry",
        "structlog",
        "rich",
        "typer",
        "uvloop",
        "redis",
    }
    assert "weft.rpc.contracts.contract_reader" not in modules
    # Those of the standard library differ from version to version.
    assert sum(name.split(".")[0] not in sys.stdlib_module_names for name in modules) < 250


def test_help_loads_neither_grpc_nor_protobuf() -> None:
    modules = loaded("runpy.run_module('weft', run_name='__main__')", "--help")
    of_others = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert not of_others & {"grpc", "google", "pydantic", "rich", "structlog", "opentelemetry", "redis"}
    assert len(modules) < 300
