"""The files, headings and modules that README, CONTRIBUTING and docs/ name exist, and so does the glossary's code."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import metrics_table
from tests.support.pages import anchors, prose
from tests.support.processes import ROOT
from weft.rpc.telemetry import attributes

METRICS = frozenset(spec.name for specs in metrics_table.GROUPS.values() for spec in specs)
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("examples/*/*.md"),
    }
)
LINK = re.compile(r"\]\(([^()\s]+)\)")
# A module, or a name in one: `weft.agent.Agent`, weft.client.methods. Metrics and services are no modules.
DOTTED = re.compile(r"(?<![\w./-])weft\.(?:agent|client|cli|coordinator|rpc|testing)(?:\.[A-Za-z_]\w*)*")


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield f"{target}: no such heading"


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, something in one, an attribute of spans, or a metric."""
    if name in vars(attributes).values() or name in METRICS:
        return True
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        try:
            found = importlib.util.find_spec(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        if found is None:
            continue
        thing: object = importlib.import_module(".".join(parts[:end]))
        for part in parts[end:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_modules(page: Path) -> None:
    assert list(broken_links(page)) == []
    if page.name == "CHANGELOG.md":
        return  # It tells of former names too.
    assert [name for name in sorted(set(DOTTED.findall(page.read_text()))) if not is_there(name)] == []


def test_what_is_not_there_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` title\n[a](#a-b-title) [b](#no) [c](gone.md) [d](page.md#no)\n```\n[e](code.md)\n```\n"
    )
    assert [line.partition(":")[0] for line in broken_links(page)] == ["#no", "gone.md", "page.md#no"]
    assert is_there("weft.agent.Agent")
    assert is_there("weft.rpc.errors")
    assert is_there("weft.agent.id")
    assert not is_there("weft.agent.Agents")
    assert not is_there("weft.agent.gone.Agent")


def test_the_glossary_has_each_term_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| **")]
    terms = [row[0].strip("| *") for row in rows]
    assert len(terms) > 80
    assert sorted(set(terms)) == sorted(terms)
    assert [row for row in rows if len(row) != 4 or not row[1].endswith(".")] == []
