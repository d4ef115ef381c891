"""Classes, functions and modules that pages name are in the code; terms are those of the glossary."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from scripts import layout
from tests.support.processes import ROOT
from weft.rpc.calls import call_keys
from weft.v1 import options_pb2

SOURCES = [source for source in layout.SOURCES if source != "gen"]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
LINK = re.compile(r"\[`([\w.]+)`\]\(([^()\s]+\.py)\)")
# `Class.name`, `module.name` or `name.py`, in pictures too.
NAMED = re.compile(r"(?<![\w./…-])([A-Za-z_]\w*)\.([a-z_]\w*)(?![\w/])")

OTHER_FILES = {"lua", "md", "proto", "svg", "yaml"}

# Words of before, with no other use.
FORMER = re.compile(
    r"understudy|leash|\bhand(s|ed|ing)?[- ]back\b|\brehost|early task|\bflights\b|\bcompany\b|places\.py|\bintake\b",
    re.IGNORECASE,
)


@cache
def defined(file: Path) -> dict[str, frozenset[str]]:
    """The classes of a module with their members; under "" its functions, constants and classes."""
    tree = ast.parse(file.read_text())
    found = {node.name: members(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    return {**found, "": members(tree) | found.keys()}


def members(node: ast.ClassDef | ast.Module) -> frozenset[str]:
    names: set[str] = set()
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(each.name)
        elif isinstance(each, ast.Assign):
            names.update(target.id for target in each.targets if isinstance(target, ast.Name))
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            names.add(each.target.id)
    return frozenset(names)


def is_defined(name: str, file: Path) -> bool:
    owner, _, member = name.rpartition(".")
    return member in defined(file).get(owner, ())


@cache
def modules() -> dict[str, list[Path]]:
    """Modules by their names."""
    found: dict[str, list[Path]] = {}
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            found.setdefault(path.stem, []).append(path)
    return found


def files_with(owner: str) -> list[Path]:
    """The modules of this name, or those that have a class of this name."""
    every = [path for paths in modules().values() for path in paths]
    return modules().get(owner, []) or [path for path in every if owner in defined(path)]


def named_by(owner: str, file: Path) -> frozenset[str]:
    """The members of a class, or the names of a module."""
    return defined(file).get(owner if owner[0].isupper() else "", frozenset())


def unknown_links(page: Path) -> list[str]:
    """Links whose text names something that is not in the file behind it."""
    wrong = []
    for text, target in LINK.findall(page.read_text()):
        file = (page.parent / target).resolve()
        if file.exists() and text not in {file.name, file.stem} and not is_defined(text, file):
            there = [str(each.relative_to(ROOT)) for each in files_with(text.partition(".")[0])]
            wrong.append(f"{text} is not in {file.name}; its owner is in {there or 'no module'}")
    return wrong


def unknown_names(text: str) -> list[str]:
    """Names in code spans and pictures that no module has."""
    spans = [
        *re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE),
        *re.findall(r"`([^`\n]+)`", text),
    ]
    wrong = []
    for owner, name in (pair for span in spans for pair in NAMED.findall(span)):
        if name == "py":
            if owner not in modules() and not list((ROOT / "tests").rglob(f"{owner}.py")):
                wrong.append(f"{owner}.py")
        elif name in OTHER_FILES or (not owner[0].isupper() and owner not in modules()):
            continue  # A file of another kind, or another library's.
        elif not any(name in named_by(owner, file) for file in files_with(owner)):
            wrong.append(f"{owner}.{name}")
    return wrong


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_links_lead_to_what_they_name(page: Path) -> None:
    assert unknown_links(page) == []


def test_the_way_of_a_call_is_that_of_the_code() -> None:
    assert unknown_names(ARCHITECTURE.read_text()) == []


def test_every_room_has_its_line() -> None:
    text = ARCHITECTURE.read_text()
    rooms = [
        path.parent
        for part in ("coordinator", "agent", "rpc", "services")
        for path in (ROOT / part).glob("src/weft/*/*/__init__.py")
    ]
    assert len(rooms) > 10
    assert [room.name for room in rooms if f"| [`{room.parent.name}/{room.name}`]" not in text] == []


def test_what_is_not_there_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "there.py").write_text("class A:\n    b: int\n    def c(self): ...\ndef d(): ...\n")
    page.write_text(
        "[`A.b`](there.py) [`A.c`](there.py) [`d`](there.py) [`there`](there.py) [`A.d`](there.py) [`e`](there.py)"
    )
    assert [line.split()[0] for line in unknown_links(page)] == ["A.d", "e"]
    text = "`Dispatcher.wake` `Dispatcher.gone` `errors.py` `nowhere.py` `grpc.aio`\n```text\nNobody.there ─► placement.plan\n```\n"
    assert sorted(unknown_names(text)) == ["Dispatcher.gone", "Nobody.there", "nowhere.py"]


def test_the_words_are_those_of_the_glossary() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")]
    for page in pages:
        if page.name not in {"glossary.md", "CHANGELOG.md", "settings.md"}:
            found = FORMER.search(page.read_text())
            assert found is None, (
                f"{page.relative_to(ROOT)}: {found and found[0]!r} is a word of before; see docs/glossary.md"
            )


def test_the_readme_has_every_call_key():
    section = (ROOT / "README.md").read_text().partition("## Metadata of a call")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    named = {key for cell in cells for key in re.findall(r"`(weft-[a-z-]+)`", cell)}
    assert named == set(call_keys.KNOWN) - set(call_keys.LINEAGE)


def test_the_guide_has_every_option_of_a_task_policy():
    page = (ROOT / "docs" / "how-to" / "task-policy.md").read_text()
    section = page.partition("## The options")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(options_pb2.TaskPolicy.DESCRIPTOR.fields_by_name)
