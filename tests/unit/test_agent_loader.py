"""`module:object`, and what is said when it leads nowhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent import LoadError
from weft.agent.loader import load

MODULE = """
from weft.agent import Agent
first = Agent("first")
def make():
    return Agent("made")
def make_nothing():
    return None
class Holder:
    inner = Agent("inner")
text = "x"
"""


@pytest.fixture(autouse=True)
def _programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "loadable_program.py").write_text(MODULE)
    (tmp_path / "broken_program.py").write_text("import no_such_library_at_all\n")
    (tmp_path / "failing_program.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    yield
    for name in ("loadable_program", "broken_program", "failing_program"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("path", "agent_id"),
    [
        ("loadable_program:first", "first"),
        ("loadable_program:make", "made"),
        ("loadable_program:Holder.inner", "inner"),
    ],
)
def test_an_agent_or_what_makes_one(path: str, agent_id: str) -> None:
    assert load(path).id == agent_id


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("loadable_program", 'not of the form "module:object"'),
        (":first", 'not of the form "module:object"'),
        ("loadable_program:", 'not of the form "module:object"'),
        ("no_such_program:agent", "there is no module 'no_such_program'"),
        ("loadable_program.sub:agent", "there is no module"),
        ("loadable_program:last", "has no 'last'; it has loadable_program:first"),
        ("loadable_program:text", "is a str, not a weft.agent.Agent"),
        ("loadable_program:make_nothing", "is a NoneType"),
    ],
)
def test_what_leads_nowhere_is_explained(path: str, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        load(path)


def test_the_programs_own_faults_are_its_own() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_library_at_all"):
        load("broken_program:agent")
    with pytest.raises(ZeroDivisionError):
        load("failing_program:agent")
