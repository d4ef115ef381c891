"""The research service's rules: the corpus and its bounds, where a quote is, which citations are kept, sessions, plug-ins."""

from __future__ import annotations

import json
import os
import random
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from weft.agent import HostingError
from weft.services.models.v1 import models_pb2
from weft.services.research import corpus_process as process
from weft.services.research import plug_ins
from weft.services.research.corpus_process import Corpus, CorpusBounds, CorpusFault, located, passages_of
from weft.services.research.corpus_reader import CorpusReader, Passage, read_answer
from weft.services.research.evidence import Evidence, checked, draft_of_call, draft_of_text
from weft.services.research.method_tools import MethodTools
from weft.services.research.research_errors import ResearchError
from weft.services.research.rule_answer import NOTHING, rule_answer
from weft.services.research.session_turns import MAX_BYTES, with_turn
from weft.services.research.settings import ResearchSettings
from weft.services.research.toolbox import Toolbox
from weft.services.research.v1 import research_pb2 as pb

BOUNDS = CorpusBounds(suffixes=(".md",), max_files=5, max_file_bytes=1000, max_corpus_bytes=3000)


def corpus_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> Corpus:
    """A corpus that looks at its folder each time."""
    monkeypatch.setattr(process, "REFRESH_S", 0.0)
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text)
    return Corpus(str(folder), BOUNDS)


# -- the corpus -------------------------------------------------------------------------------------------------------


def test_files_outside_of_the_bounds_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    corpus = corpus_of(inner, monkeypatch, a="fox", large="fox " * 300, many="fox " * 200)
    (tmp_path / "secret.md").write_text("fox of the outside")
    (inner / "link.md").symlink_to(tmp_path / "secret.md")
    (inner / "folder").symlink_to(tmp_path)
    (inner / "own.md").symlink_to(inner / "a.md")
    (inner / ".hidden.md").write_text("fox")
    (inner / "other.exe").write_text("fox")
    (inner / "binary.md").write_bytes(b"fox\0fox")
    (inner / "odd\n.md").write_text("fox")
    os.mkfifo(inner / "pipe.md")
    found = corpus.files("")
    assert found["paths"] == ["a.md", "many.md"]
    assert found["left_out"] == 2
    assert {each["path"] for each in corpus.search("fox", 20)} == {"a.md", "many.md"}
    for path in ("link.md", "../secret.md", "/etc/passwd", "folder/secret.md", ".hidden.md", "a.md/", ""):
        with pytest.raises(CorpusFault, match="no such file"):
            corpus.read(path, 1, 1)


def test_a_file_that_becomes_a_link_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.md").write_text("secret")
    corpus = corpus_of(tmp_path / "in", monkeypatch, a="fox")
    assert corpus.files("")["paths"] == ["a.md"]
    # After the scan: its place in the list is old.
    monkeypatch.setattr(process, "REFRESH_S", 1000.0)
    (tmp_path / "in" / "a.md").unlink()
    (tmp_path / "in" / "a.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(CorpusFault, match="cannot be read"):
        corpus.read("a.md", 1, 1)


def test_the_index_follows_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(tmp_path, monkeypatch, a="one fox", b="two foxes, two foxes")
    assert [each["path"] for each in corpus.search("which fox?", 5)] == ["b.md", "a.md"]
    (tmp_path / "b.md").write_text("a badger, and nothing else")
    (tmp_path / "a.md").unlink()
    (tmp_path / "c.md").write_text("fox")
    assert [each["path"] for each in corpus.search("fox", 5)] == ["c.md"]
    assert [each["path"] for each in corpus.search("badgers", 5)] == ["b.md"]


@pytest.mark.parametrize(
    "query", ["", '"', "fox OR", "NEAR(", "path:a", "*", "a" * 10_000, "\ud800", "the of and", "fox' --"]
)
def test_any_text_can_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    corpus = corpus_of(tmp_path, monkeypatch, a="one fox")
    answer = process.answer_to(corpus, json.dumps({"op": "search", "query": query, "limit": 5}))
    assert "ok" in answer, answer


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", "null", '{"op": "read"}', '{"op": "search", "query": "a", "limit": 1e999}', "[" * 9999],
)
def test_nonsense_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    assert "error" in process.answer_to(corpus_of(tmp_path, monkeypatch), line)


def test_passages_have_each_line_with_text_once() -> None:
    chance = random.Random(1)
    for _ in range(200):
        lines = [chance.choice(["", "  ", "a word", "x" * 500]) for _ in range(chance.randrange(60))]
        covered = [number for first, last in passages_of(lines) for number in range(first, last + 1)]
        assert len(covered) == len(set(covered))
        assert {number for number, each in enumerate(lines, 1) if each.strip()} <= set(covered)


# -- citations --------------------------------------------------------------------------------------------------------

LINES = ["# Title", "", "The fox is", "quick and   brown.", "", "The fox is red."]


@pytest.mark.parametrize(
    ("quote", "first", "last", "place"),
    [
        ("The fox is quick", 3, 4, (3, 4)),
        ("The fox is quick", 1, 6, (1, 6)),
        ("The fox is quick", 6, 6, (3, 4)),
        ("quick and brown.", 1, 1, (4, 4)),
        ("The fox is", 6, 6, (6, 6)),
        ("The fox is", 3, 3, (3, 3)),
        ("red. The", 1, 1, None),
        ("a wolf", 3, 4, None),
        ("", 3, 4, (3, 4)),
        ("", 2, 2, None),
        ("", 6, 7, None),
        ("", 0, 1, None),
        ("", 4, 3, None),
    ],
)
def test_where_a_quote_is(quote: str, first: int, last: int, place: tuple[int, int] | None) -> None:
    assert located(LINES, quote, first, last) == place


async def locate(path: str, quote: str, first: int, last: int) -> Passage | None:
    place = located(LINES, quote, first, last) if path == "a.md" else None
    return place and Passage(path, *place, "\n".join(LINES[place[0] - 1 : place[1]]))


async def test_lines_without_a_quote_must_have_been_shown() -> None:
    evidence = Evidence()
    draft = draft_of_text("Quick [a.md:3-4], red [a.md:6] [7], and again [a.md:3-4].")
    text, kept, notes = await checked(draft, evidence, locate)
    assert (text, kept, len(notes)) == ("Quick, red, and again.", [], 2)
    evidence.show_lines("a.md", 1, 4)
    text, kept, notes = await checked(draft, evidence, locate)
    assert text == "Quick [1], red, and again [1]."
    assert kept[0].text == "The fox is\nquick and   brown."
    # A short quote is found anywhere: it counts as none.
    given = {"text": "x [1]", "citations": [{"source": "a.md", "first_line": 6, "quote": "fox"}]}
    assert not (await checked(draft_of_call(json.dumps(given)), evidence, locate))[1]


async def test_texts_of_tools_are_cited_by_their_own_names() -> None:
    evidence = Evidence()
    assert evidence.show_text("web", "one\ntwo words here") == "web"
    assert evidence.show_text("web", "three") == "web#2"
    given = {"text": "x", "citations": [{"source": "web", "first_line": 1, "quote": "two words here"}]}
    _, kept, _ = await checked(draft_of_call(json.dumps(given)), evidence, locate)
    assert (kept[0].first_line, kept[0].kind) == (2, pb.SOURCE_KIND_TOOL)


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "[]",
        "{}",
        '{"text": " "}',
        '{"text": 1}',
        '{"text": "a", "citations": [1]}',
        '{"text": "a", "citations": 5}',
    ],
)
def test_a_call_that_is_no_answer_is_told(arguments: str) -> None:
    with pytest.raises(ValueError, match="answer"):
        draft_of_call(arguments)


def test_rules_answer_with_the_paragraph_that_has_most_words() -> None:
    passage = Passage("a.md", 10, 14, "About foxes.\n\nThe fox weighs\nsix kilograms.\nIt is red.")
    answer = rule_answer("What is the weight of a fox?", [passage, Passage("b.md", 1, 1, "a fox")])
    assert [(each.source, each.first_line, each.last_line) for each in answer.citations] == [
        ("a.md", 12, 14),
        ("b.md", 1, 1),
    ]
    assert rule_answer("kangaroo", [passage]).text == NOTHING


# -- sessions, tools, settings ----------------------------------------------------------------------------------------


def test_sessions_are_bounded() -> None:
    session = pb.Session()
    for number in range(5):
        session = with_turn(session, f"q{number}", pb.Answer(text="a"), 1.0, 3)
    assert ([each.question for each in session.turns], session.dropped_turns) == (["q2", "q3", "q4"], 2)
    for _ in range(5):
        cited = [pb.Citation(text="x" * 2000) for _ in range(20)]
        session = with_turn(session, "q" * 16_384, pb.Answer(text="x" * 32_768, citations=cited), 1.0, 20)
        assert session.turns
        assert session.ByteSize() <= MAX_BYTES


class _Tool:
    description = "Searches."
    parameters_json = "{}"

    async def call(self, arguments: dict[str, Any]) -> list[plug_ins.Found]:
        if arguments.get("query") == "raise":
            raise RuntimeError("with the question in it")
        return [plug_ins.Found("https://example.com", f"found {arguments.get('query')}\nmore")]


async def test_a_plug_in_is_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Entry:
        name = "web"

        def load(self) -> Any:
            return _Tool

    monkeypatch.setattr(metadata, "entry_points", lambda group: [_Entry()])
    with pytest.raises(HostingError, match="no research tool 'net'; installed: web"):
        plug_ins.load_tools(["net"])
    nothing: Any = None
    toolbox = Toolbox(nothing, Evidence(), MethodTools(nothing), plug_ins.load_tools(["web"]))
    assert "web" in [each.name for each in toolbox.tools]

    async def told(arguments: str) -> str:
        return await toolbox.run(models_pb2.ToolCall(name="web", arguments_json=arguments), 5.0)

    assert await told('{"query": "foxes"}') == "https://example.com\n1: found foxes\n2: more"
    assert await told('{"query": "raise"}') == "error: the tool failed (RuntimeError)"
    assert "found None" in await told("no json")
    assert await toolbox.run(models_pb2.ToolCall(name="none"), 5.0) == "error: there is no tool none"


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"ok": 1, "error": 2}', b"[" * 9999])
def test_an_answer_of_the_process_is_checked(line: bytes) -> None:
    with pytest.raises(ValueError):
        read_answer(line)


async def test_an_agent_without_a_corpus_says_so(tmp_path: Path) -> None:
    for folder in ("", str(tmp_path / "none")):
        with pytest.raises(ResearchError, match="set WEFT_RESEARCH_FOLDER"):
            await CorpusReader(ResearchSettings(folder=folder)).search("a", 1)


async def test_it_reads_without_a_sandbox_and_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one fox\n")
    reader = CorpusReader(ResearchSettings(folder=str(tmp_path), sandbox="off"))
    try:
        assert [each.path for each in await reader.search("fox", 5)] == ["a.md"]
        running = reader._running
        assert running is not None
        running.process.kill()
        # Another one is started within the question.
        assert [each.path for each in await reader.search("fox", 5)] == ["a.md"]
        assert reader._running is not running
        assert await reader.read("a.md", 0, 0) == (1, ["one fox"], 1)
    finally:
        await reader.close()


@pytest.mark.parametrize(
    "wrong",
    [{"suffixes": "md"}, {"suffixes": ""}, {"tools": "Stock"}, {"max_rounds": 0}, {"sandbox": "maybe"}],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResearchSettings(**wrong)
