"""The layout guard finds what it is for, and this repository passes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts import layout

GOOD = {
    "gen/weft/v1/types_pb2.py": "from google.protobuf import descriptor",
    "gen/weft/v1/py.typed": "",
    "rpc/src/weft/rpc/__init__.py": "from weft.v1 import types_pb2",
    "rpc/src/weft/rpc/py.typed": "",
    "client/src/weft/client/__init__.py": "import weft.rpc.errors\nfrom . import tasks",
    "client/src/weft/client/tasks.py": "from ..rpc import errors",
    "client/src/weft/client/py.typed": "",
    "cli/src/weft/cli/__init__.py": "from weft import coordinator, agent\nfrom weft.client import tasks",
    "cli/src/weft/cli/py.typed": "",
    "testing/src/weft/testing/__init__.py": "from weft import coordinator, agent",
    "testing/src/weft/testing/py.typed": "",
    "agent/src/weft/agent/__init__.py": "def f():\n    from weft.client import tasks",
    "agent/src/weft/agent/py.typed": "",
    "coordinator/src/weft/coordinator/__init__.py": "",
    "coordinator/src/weft/coordinator/py.typed": "",
    "services/src/weft/services/heat/__init__.py": "from weft.rpc import errors",
    "services/src/weft/services/heat/py.typed": "",
    "compat/src/weft/compat/__init__.py": "from weft.agent import Agent",
    "compat/src/weft/compat/py.typed": "",
    "coordinator/src/weft/coordinator/store/__init__.py": "from weft.coordinator.store import rules",
}
AGENT = "agent/src/weft/agent/__init__.py"
COORDINATOR = "coordinator/src/weft/coordinator/sessions.py"
HEAT = "services/src/weft/services/heat"


def write(root: Path, files: Mapping[str, str | None]) -> Path:
    for name, text in files.items():
        path = root / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def test_a_good_layout_passes(tmp_path):
    assert list(layout.problems(write(tmp_path, GOOD))) == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"agent/src/weft/__init__.py": ""}, "agent/src/weft/__init__.py: weft is a namespace package"),
        ({"gen/weft/v1/py.typed": None}, "gen/weft/v1: has no py.typed"),
        ({"coordinator/src/weft/coordinator/py.typed": None}, "coordinator: has no py.typed"),
        (
            {"agent/src/weft/new/py.typed": "", "agent/src/weft/new/__init__.py": ""},
            "agent/src/weft/new: unknown package",
        ),
        (
            {"agent/src/weft/agent/deep/x.py": ""},
            "agent/src/weft/agent/deep: has modules, but no __init__.py",
        ),
        ({"agent/src/weft/agent/common.py": ""}, "agent/common.py: 'common' does not say what it is for"),
        ({"agent/src/weft/agent/task_utils.py": ""}, "task_utils.py: 'utils' does not say"),
        ({"agent/src/weft/agent/helpers/__init__.py": ""}, "helpers/__init__.py: 'helpers' does not say"),
        ({"coordinator/src/weft/coordinator/session_manager.py": ""}, "'manager' does not say"),
        ({AGENT: "import weft.coordinator.rules"}, f"{AGENT}:1: weft.agent must not import weft.coordinator"),
        (
            {AGENT: "\nfrom weft import coordinator"},
            f"{AGENT}:2: weft.agent must not import weft.coordinator",
        ),
        (
            {AGENT: "def f():\n  from weft.cli.main import main"},
            f"{AGENT}:2: weft.agent must not import weft.cli",
        ),
        ({AGENT: "from .. import coordinator"}, "weft.agent must not import weft.coordinator"),
        ({AGENT: "from ..cli.main import main"}, "weft.agent must not import weft.cli"),
        ({AGENT: "import weft"}, "imports the namespace weft itself"),
        ({COORDINATOR: "from weft.agent import Agent"}, "weft.coordinator must not import weft.agent"),
        ({COORDINATOR: "from weft.client import connect"}, "weft.coordinator must not import weft.client"),
        (
            {"rpc/src/weft/rpc/x.py": "from weft.client import connect"},
            "weft.rpc must not import weft.client",
        ),
        ({"client/src/weft/client/x.py": "import weft.cli"}, "weft.client must not import weft.cli"),
        ({"gen/weft/v1/x.py": "import weft.rpc"}, "weft.v1 must not import weft.rpc"),
        (
            {AGENT: "grpc.aio.insecure_channel('a')"},
            "insecure_channel is for weft/rpc/network/channel.py alone",
        ),
        ({AGENT: "structlog.get_logger()"}, "structlog.get_logger is for weft/rpc/process/logs.py alone"),
        ({AGENT: "from logging import getLogger"}, "logging.getLogger is for weft/rpc/process/logs.py alone"),
        (
            {COORDINATOR: "from grpc import secure_channel"},
            "secure_channel is for weft/rpc/network/channel.py alone",
        ),
        ({AGENT: "raise errors.NotFound('x')"}, f"{AGENT}:1: NotFound is made in weft/rpc/refusals alone"),
        ({"agent/src/weft/agent/tasks.py": ""}, "client/tasks.py: files of one name; a search"),
        (
            {AGENT: "class Session: pass", COORDINATOR: "class Session: pass"},
            "sessions.py:1, agent/src/weft/agent/__init__.py:1: classes named Session; a search",
        ),
        ({AGENT: "def f():\n  import redis"}, f"{AGENT}:2: redis is for weft/coordinator/store/redis alone"),
        (
            {COORDINATOR: "import sqlite3"},
            "sqlite3 is for weft/coordinator/store/embedded and weft/services/research alone",
        ),
        ({AGENT: "from rich.text import Text"}, "rich is for weft/cli alone"),
        ({AGENT: "import numpy"}, f"{AGENT}:1: numpy has no owner; say in scripts/layout.py"),
        (
            {"coordinator/src/weft/coordinator/store/x.py": "from weft.coordinator import sessions"}
            | {COORDINATOR: ""},
            "weft.coordinator.store.x: imports weft.coordinator.sessions; weft.coordinator.store may import",
        ),
        (
            {"client/src/weft/client/x.py": "def f():\n  from weft.client import y"}
            | {"client/src/weft/client/y.py": "from .x import f"},
            "imports go in a circle: weft.client.x -> weft.client.y -> weft.client.x",
        ),
        (
            {f"rpc/src/weft/rpc/{room}/__init__.py": "" for room in ("a", "b")}
            | {"rpc/src/weft/rpc/a/one.py": "from weft.rpc.b import two", "rpc/src/weft/rpc/b/two.py": ""}
            | {"rpc/src/weft/rpc/b/three.py": "import weft.rpc.a.one"},
            "rooms import each other in a circle: weft.rpc.a -> weft.rpc.b -> weft.rpc.a",
        ),
        ({"services/src/weft/services/__init__.py": ""}, "weft.services is a namespace package and must"),
        (
            {"services/src/weft/services/catalogue.py": ""},
            "services/catalogue.py: weft.services has packages alone",
        ),
        (
            {f"{HEAT}/x.py": "from weft.services.cold import y\nfrom weft.services.cold.v1 import cold_pb2"},
            "x.py:1: weft.services.heat must not import weft.services.cold, only the contract",
        ),
        (
            {f"{HEAT}/x.py": "from weft.coordinator import rules"},
            "weft.services must not import weft.coordinat",
        ),
        ({AGENT: "from weft.services.heat import x"}, "weft.agent must not import weft.services"),
        ({"cli/src/weft/cli/x.py": "import weft.services.heat"}, "weft.cli must not import weft.services"),
    ],
    ids=range(40),
)
def test_what_erodes_it_is_found(tmp_path, change, wanted):
    write(tmp_path, GOOD)
    (found,) = layout.problems(write(tmp_path, change))
    assert wanted in found


def test_each_circle_is_found():
    edges = {"a": {"b", "c"}, "b": {"a"}, "c": {"d"}, "d": {"a", "d"}, "e": {"a"}}
    found = {frozenset(circle) for circle in layout.circles(edges)}
    assert found == {frozenset("ab"), frozenset("acd"), frozenset("d")}


def test_rooms_with_names_that_begin_alike_are_told_apart(tmp_path):
    write(
        tmp_path,
        GOOD | {"coordinator/src/weft/coordinator/storefront.py": "from weft.coordinator import codec"},
    )
    assert list(layout.problems(write(tmp_path, {"coordinator/src/weft/coordinator/codec.py": ""}))) == []


def test_a_missing_source_root_is_found(tmp_path):
    assert "gen: has no folder weft" in list(layout.problems(tmp_path))


def test_an_install_from_elsewhere_is_found(tmp_path):
    (found,) = layout.install_problems(tmp_path)
    assert "not in the installed namespace" in found


def test_tests_share_what_they_build_in_support_alone():
    """A module of tests that imports another's runs with its fixtures and constants, and breaks when that one is split."""
    found = [
        f"{path.relative_to(layout.ROOT)}:{line}: {name}"
        for path in sorted((layout.ROOT / "tests").rglob("*.py"))
        # Of others, it need not look at all the code.
        if re.search(r"\bimport\b.*\btest_|\bfrom\b.*\btest_", path.read_text())
        for line, name in layout.imports(layout.nodes(path), path.relative_to(layout.ROOT))
        if name.startswith("tests.") and ".test_" in name
    ]
    assert found == []
