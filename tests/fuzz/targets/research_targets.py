"""What the research service reads: questions to the process of the corpus and its answers, and what models write."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from pathlib import Path

from tests.fuzz.target import target, text_of
from weft.services.models.v1 import models_pb2
from weft.services.research import toolbox
from weft.services.research.corpus_process import Corpus, CorpusBounds, answer_to, located, passages_of
from weft.services.research.corpus_reader import read_answer
from weft.services.research.evidence import draft_of_call, draft_of_text


@functools.cache
def _corpus() -> Corpus:
    folder = tempfile.mkdtemp(prefix="weft-fuzz-")
    (Path(folder) / "a.md").write_text("The fox is\nquick and brown.\n\nThe wolf is grey.\n")
    return Corpus(folder, CorpusBounds((".md",), 10, 10_000, 10_000))


@target(
    "weft/services/research/corpus_process",
    "weft/services/research/corpus_reader",
    seeds=lambda: [
        b'{"op": "search", "query": "the quick fox OR \\"", "limit": 5}',
        b'{"op": "read", "path": "a.md", "first": 1, "last": 2}',
        b'{"op": "locate", "path": "a.md", "quote": "fox is quick", "first": 3, "last": 3}',
        b'{"op": "files", "match": "a"}',
    ],
    max_bytes=2048,
)
def corpus_question(data: bytes) -> None:
    answer = answer_to(_corpus(), data)
    assert read_answer(json.dumps(answer).encode()) == answer
    with contextlib.suppress(ValueError):
        read_answer(data)
    lines = text_of(data).split("\n")
    for first, last in passages_of(lines):
        assert 1 <= first <= last <= len(lines)
        assert located(lines, "\n".join(lines[first - 1 : last]), first, last) == (first, last)


@target(
    "weft/services/research/evidence",
    "weft/services/research/toolbox",
    seeds=lambda: [
        b'{"text": "x [1]", "citations": [{"source": "a.md", "first_line": 1, "last_line": 2, "quote": "fox"}]}',
        b"It is quick [a.md:1-2], and [b.md:7] grey [3].",
        b'{"path": "a.md", "first_line": 1}',
    ],
    max_bytes=2048,
)
def model_draft(data: bytes) -> None:
    text = text_of(data)
    drafts = [draft_of_text(text)]
    with contextlib.suppress(ValueError):
        drafts.append(draft_of_call(text))
    for each in drafts:
        each.text.encode()
        for place in each.claims:
            place.source.encode()
    sent = text.encode("utf-8", "replace").decode()
    assert isinstance(toolbox._arguments(sent), dict)
    models_pb2.ToolCall(name="read", arguments_json=sent)
    assert len(toolbox.detail_of(text)) <= 200
