"""What a model was shown, and what its citations are worth. Pure, but for the look into the corpus.

claims of a model ─► their text is found where they say ─► kept
                                      └ elsewhere in the source: repaired
                                      └ nowhere: left out, with its mark in the text
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from weft.rpc import bounded_json
from weft.rpc.visible import one_line
from weft.services.research.corpus_process import located
from weft.services.research.corpus_reader import Passage
from weft.services.research.v1 import research_pb2 as pb

MAX_CLAIMS = 20
MAX_TEXT = 32_768
MAX_QUOTED = 2000
# A range of lines without a quote, at most.
_MAX_LINES = 60
# A shorter quote is found anywhere.
_LEAST_QUOTE = 8
_MARK = re.compile(r" ?\[(\d{1,2})\]")
_PLACE = re.compile(r"\[([^\[\]\n]{1,300}?):(\d{1,7})(?:-(\d{1,7}))?\]")
Locate = Callable[[str, str, int, int], Awaitable[Passage | None]]


class QuotedPlace(NamedTuple):
    """A citation as a model gives it."""

    source: str
    first: int
    last: int
    quote: str


class Draft(NamedTuple):
    """An answer as a model gives it: `[1]` in its text is the first of its claims."""

    text: str
    claims: list[QuotedPlace]
    # The model says that nothing answers the question.
    nothing: bool = False


class Evidence:
    """What a model was shown for one question."""

    def __init__(self) -> None:
        # Lines of the corpus, by path.
        self._shown: dict[str, set[int]] = {}
        # Texts of tools, by source.
        self._texts: dict[str, list[str]] = {}

    def show_lines(self, path: str, first: int, last: int) -> None:
        """Note that lines of a file were shown."""
        self._shown.setdefault(path, set()).update(range(first, last + 1))

    def show_text(self, source: str, text: str) -> str:
        """Note a tool's text. Returns its source, which no other text of this question has."""
        name, number = source, 1
        while name in self._texts:
            number += 1
            name = f"{source}#{number}"
        self._texts[name] = text.split("\n")
        return name

    async def citation_of(self, claim: QuotedPlace, locate: Locate) -> pb.Citation | None:
        """The citation that a claim is worth. None: what it says is not there.

        Args:
            locate: finds a quote in a file of the corpus.
        """
        quote = claim.quote if len("".join(claim.quote.split())) >= _LEAST_QUOTE else ""
        if not quote and not self._was_shown(claim):
            return None
        text = self._texts.get(claim.source)
        if text is None:
            found = await locate(claim.source, quote, claim.first, claim.last)
            kind = pb.SOURCE_KIND_FILE
        else:
            place = located(text, quote, claim.first, claim.last)
            found = place and Passage(claim.source, *place, "\n".join(text[place[0] - 1 : place[1]]))
            kind = pb.SOURCE_KIND_TOOL
        if not found:
            return None
        return pb.Citation(
            source=claim.source,
            kind=kind,
            first_line=found.first,
            last_line=found.last,
            text=found.text[:MAX_QUOTED],
        )

    def _was_shown(self, claim: QuotedPlace) -> bool:
        if not 0 <= claim.last - claim.first < _MAX_LINES:
            return False
        lines = range(claim.first, claim.last + 1)
        return claim.source in self._texts or self._shown.get(claim.source, set()).issuperset(lines)


async def checked(
    draft: Draft, evidence: Evidence, locate: Locate
) -> tuple[str, list[pb.Citation], list[str]]:
    """A draft's text with the citations that exist, and what has become of the others."""
    kept: list[pb.Citation] = []
    numbers: dict[int, int] = {}
    notes: list[str] = []
    for number, claim in enumerate(draft.claims, 1):
        citation = await evidence.citation_of(claim, locate)
        told = one_line(f"{claim.source}:{claim.first}-{claim.last}")[:200]
        if citation is None:
            notes.append(f"A citation of the model does not exist, and was left out: {told}")
            continue
        if (citation.first_line, citation.last_line) != (claim.first, claim.last):
            notes.append(
                f"A citation of the model was repaired: {told} is at lines {citation.first_line}-{citation.last_line}"
            )
        kept.append(citation)
        numbers[number] = len(kept)

    def renumbered(mark: re.Match[str]) -> str:
        number = numbers.get(int(mark[1]))
        return "" if number is None else f"{' ' if mark[0][0] == ' ' else ''}[{number}]"

    return _MARK.sub(renumbered, draft.text).strip(), kept, notes


def draft_of_call(arguments_json: str) -> Draft:
    """The draft in a call of the tool `answer`.

    Raises:
        ValueError: it is none; the message is for the model.
    """
    try:
        given = bounded_json.loads(arguments_json)
        text, listed = given["text"], given.get("citations") or []
        claims = [
            QuotedPlace(
                str(each["source"])[:1024],
                int(each.get("first_line") or 1),
                int(each.get("last_line") or each.get("first_line") or 1),
                str(each.get("quote") or "")[:MAX_QUOTED],
            )
            for each in listed[:MAX_CLAIMS]
        ]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise ValueError(
            "the call of answer is not as its schema says: text, and citations with source, first_line, last_line and quote"
        ) from None
    if not isinstance(text, str) or not text.strip():
        raise ValueError("the text of the answer is empty")
    return Draft(_sound(text), [_bounded(each) for each in claims], given.get("nothing_found") is True)


def draft_of_text(text: str) -> Draft:
    """The draft in a plain answer: its claims are marks such as [notes.md:3-5]."""
    claims: list[QuotedPlace] = []

    def number(place: re.Match[str]) -> str:
        if len(claims) >= MAX_CLAIMS:
            return ""
        first = int(place[2])
        claim = _bounded(QuotedPlace(place[1].strip(), first, int(place[3] or first), ""))
        if claim not in claims:
            claims.append(claim)
        return f"[{claims.index(claim) + 1}]"

    # Other numbers in brackets would be taken for marks.
    plain = _MARK.sub("", _sound(text))
    return Draft(_PLACE.sub(number, plain), claims)


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:MAX_TEXT]


def _bounded(claim: QuotedPlace) -> QuotedPlace:
    first, last = (min(max(each, 0), 2**31) for each in (claim.first, claim.last))
    return QuotedPlace(_sound(claim.source), first, last, _sound(claim.quote))


def numbered(lines: Sequence[str], first: int) -> str:
    """Lines as a model is shown them."""
    return "\n".join(f"{number}: {line[:1000]}" for number, line in enumerate(lines, first))
