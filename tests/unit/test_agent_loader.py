"""`module:object`, and the errors when it leads to no agent."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent import LoadError, ProgramError, SettingsError
from weft.agent.program.loader import load

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
def _programs(tmp_path: Path, own_import_path: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "loadable_program.py").write_text(MODULE)
    (tmp_path / "broken_program.py").write_text("import no_such_library_at_all\n")
    (tmp_path / "failing_program.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "import no_such_library_at_all",
            ["ModuleNotFoundError: No module named 'no_such_library_at_all'", "line 1"],
        ),
        ("from json import nothing", ["ImportError: cannot import name 'nothing'", "line 1, in <module>"]),
        ("\n1 / 0", ["ZeroDivisionError: division by zero", "line 2, in <module>", "1 / 0"]),
        ("def f(:\n  pass", ["SyntaxError: invalid syntax", "line 1", "def f(:", "^"]),
        ("if True:\n\tx = 1\n        y = 2", ["TabError: inconsistent use of tabs", "line 3"]),
        ("x = '\\ud800'\nraise ValueError(x * 99999)", ["ValueError: ", "line 2"]),
        ("import sys\nsys.exit(3)", ["it ends the process (sys.exit(3))", "__main__"]),
        ("raise BaseException('no')", ["BaseException: no", "line 1"]),
        ("def make():\n    return [][1]", ["IndexError: list index out of range", "line 2, in make"]),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E", ["E"]),
        ("\0", ["SyntaxError"]),
    ],
    ids=range(11),
)
def test_the_programs_own_fault_is_shown_with_its_place(tmp_path: Path, text: str, says: list[str]) -> None:
    (tmp_path / "faulty_program.py").write_text(text)
    sys.modules.pop("faulty_program", None)
    importlib.invalidate_caches()
    with pytest.raises(ProgramError) as raised:
        load("faulty_program:make")
    message = raised.value.message
    for words in says:
        assert words in message
    assert len(message) < 3000
    assert message.count("\n") < 8


def test_a_bad_setting_in_a_program_is_a_bad_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_AGENT_SLOTS", "many")
    with pytest.raises(SettingsError, match="agent setting slots"):
        load("loadable_program:first")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("loadable_program.py:first", "did you mean loadable_program:first?"),
        ("./loadable_program.py:first", "did you mean loadable_program:first?"),
        ("{here}/loadable_program.py:first", "did you mean loadable_program:first?"),
        ("./loadable_program.py", "did you mean loadable_program:first?"),
        ("loadable_program", "did you mean loadable_program:first?"),
        ("./sub/inner.py", "did you mean sub.inner:agent?"),
        ("sub/inner", "did you mean sub.inner:agent?"),
        ("sub.inner", "did you mean sub.inner:agent?"),
        ("loadable_progam:first", "did you mean loadable_program?"),
    ],
)
def test_a_file_in_place_of_a_module(tmp_path: Path, path: str, hint: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inner.py").write_text("this is no Python")
    with pytest.raises(LoadError) as raised:
        load(path.format(here=tmp_path))
    assert hint in raised.value.message


def test_a_file_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    with pytest.raises(LoadError, match=f"did you mean loadable_program:first, in the folder {tmp_path}"):
        load("../loadable_program.py:first")
