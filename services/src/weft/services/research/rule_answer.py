"""An answer without a model: the paragraphs of the best passages that have most of the question's words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weft.services.research.corpus_process import words_of
from weft.services.research.corpus_reader import Passage
from weft.services.research.v1 import research_pb2 as pb

NOTHING = "Nothing in the corpus has the words of the question."
_MOST = 3
_MOST_LINES = 8
# Words are alike if they begin alike: "weighs" and "weight".
_STEM = 5


def rule_answer(question: str, passages: Sequence[Passage]) -> pb.Answer:
    """An answer made of passages, each cited with its lines.

    Args:
        passages: best first.
    """
    stems = {each[:_STEM] for each in words_of(question)}
    ranked: list[tuple[int, int, Passage]] = []
    for rank, passage in enumerate(passages):
        scored = [(_common(stems, each), each) for each in _paragraphs(passage)]
        if scored:
            score, best = max(scored, key=lambda each: each[0])
            if score:
                ranked.append((-score, rank, best))
    ranked.sort(key=lambda each: each[:2])
    # What has far fewer of the words than the best one is about something else.
    chosen = [each for score, _, each in ranked if score * 2 <= ranked[0][0]][:_MOST]
    answer = pb.Answer(source=pb.ANSWER_SOURCE_RULES, text=NOTHING)
    if not chosen:
        return answer
    answer.text = "\n\n".join(
        f"{' '.join(each.text.split())} [{number}]" for number, each in enumerate(chosen, 1)
    )
    for each in chosen:
        answer.citations.add(
            source=each.path,
            kind=pb.SOURCE_KIND_FILE,
            first_line=each.first,
            last_line=each.last,
            text=each.text[:2000],
        )
    return answer


def _common(stems: set[str], paragraph: Passage) -> int:
    return len(stems & {each[:_STEM] for each in words_of(paragraph.text)})


def _paragraphs(passage: Passage) -> Iterator[Passage]:
    """Runs of lines without an empty one between them."""
    run: list[str] = []
    for number, line in enumerate([*passage.text.split("\n"), ""], passage.first):
        if line.strip() and len(run) < _MOST_LINES:
            run.append(line)
            continue
        if run:
            yield Passage(passage.path, number - len(run), number - 1, "\n".join(run))
        run = [line] if line.strip() else []
