"""A goal in words: its clauses, and how well a method fits one. Pure.

"reserve item=desk, then charge card=4711 and send to=ann"
─► reserve {item: desk} │ then │ charge {card: 4711} together with send {to: ann}
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from weft.rpc.contracts.descriptors import method_name

_ARGUMENT = re.compile(
    r"""(?P<name>[A-Za-z_]\w*)=(?P<value>"[^"]*"|'[^']*'|\[[^\]]*\]|\$?\{[^}]*\}|[^\s,;]+)"""
)
_THEN = re.compile(r"\bthen\b|\bafterwards\b|[;\n]|,(?=\s|$)|\.(?=\s|$)", re.IGNORECASE)
_AND = re.compile(r"\band\b|&", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_FILLING = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "for",
        "with",
        "in",
        "on",
        "at",
        "by",
        "from",
        "it",
        "its",
        "this",
        "that",
        "please",
        "all",
        "each",
        "every",
        "then",
        "and",
        "my",
        "our",
        "your",
        "me",
        "us",
        "them",
        "their",
        "if",
        "so",
        "do",
    ]
)
# Signs that stand for the arguments of a goal while it is split.
_MARK = "\ue000{}\ue001"
_MARKED = re.compile("\ue000(\\d+)\ue001")
_METHOD, _SERVICE, _ARGUMENT_NAME, _FIELD, _COMMENT = 4, 2, 3, 1, 1
_MOST_COMMENT = 3
LEAST_SCORE = 4
MAX_CLAUSES = 50


@dataclass(slots=True)
class Clause:
    """A part of a goal.

    Args:
        text: as it was written.
        stage: clauses of one stage are done at the same time.
        words: without arguments and filling words.
    """

    text: str
    stage: int
    words: list[str]
    arguments: dict[str, str] = field(default_factory=dict)


def clauses_of(goal: str) -> list[Clause]:
    """The clauses of a goal, in order; those without words are left out."""
    arguments: list[tuple[str, str]] = []

    def mark(found: re.Match[str]) -> str:
        arguments.append((found["name"], found["value"]))
        return _MARK.format(len(arguments) - 1)

    marked = _ARGUMENT.sub(mark, goal.replace("\ue000", " ").replace("\ue001", " "))
    clauses: list[Clause] = []
    stage = 0
    for sequel in _THEN.split(marked):
        found = []
        for part in _AND.split(sequel):
            own = [arguments[int(number)] for number in _MARKED.findall(part)]
            bare = _MARKED.sub(" ", part)
            words = [each for each in words_of(bare) if each not in _FILLING]
            text = " ".join([*bare.split(), *(f"{name}={value}" for name, value in own)])
            if words:
                found.append(Clause(text, stage, words, dict(own)))
            elif own and (before := (found or clauses)):
                # "charge card=1 and cents=5"
                before[-1].arguments |= dict(own)
        clauses += found
        stage += bool(found)
    return clauses[:MAX_CLAUSES]


def words_of(text: str) -> list[str]:
    """The words of a text or of a name, in lower case."""
    return [each.lower() for each in _WORD.findall(text)]


def alike(word: str, other: str) -> bool:
    """Whether two words have one stem, about: "reserve" and "reservation", "card" and "cards"."""
    if word == other:
        return True
    least = min(len(word), len(other))
    need = max(4, least - 1)
    return least >= 4 and word[:need] == other[:need]


def fit(clause: Clause, method: MethodDescriptor, comment: str) -> int:
    """How well a method fits a clause: by its name above all, then by its service, its fields, its comment."""
    service, _, name = method_name(method).rpartition("/")
    own = words_of(name)
    score = _METHOD * _hits(own, clause.words) - sum(not _hit(each, clause.words) for each in own)
    score += _SERVICE * min(1, _hits(words_of(service.rpartition(".")[2]), clause.words))
    fields = {each.name for each in method.input_type.fields}
    score += _ARGUMENT_NAME * len(clause.arguments.keys() & fields)
    score += _FIELD * _hits({word for each in fields for word in words_of(each)}, clause.words)
    return score + _COMMENT * min(_MOST_COMMENT, _hits(set(words_of(comment)) - _FILLING, clause.words))


def _hits(words: Iterable[str], given: Collection[str]) -> int:
    return sum(_hit(each, given) for each in words)


def _hit(word: str, given: Collection[str]) -> bool:
    return any(alike(word, each) for each in given)


def is_struct(message_type: Descriptor) -> bool:
    """Whether a message has any fields: a function that takes or gives a dict."""
    return bool(message_type.full_name == "google.protobuf.Struct")
