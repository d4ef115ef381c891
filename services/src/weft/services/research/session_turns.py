"""Sessions: questions and answers that a lock keeps, bounded. Pure."""

from __future__ import annotations

from weft.rpc.times import timestamp
from weft.services.research.v1 import research_pb2 as pb

LOCK = "research"
MAX_BYTES = 48 * 1024
# A turn that is larger alone loses the texts of its citations, and then its end.
_MAX_TEXT = 8192


def with_turn(
    session: pb.Session, question: str, answer: pb.Answer, now_s: float, max_turns: int
) -> pb.Session:
    """The session with one more turn, without the oldest ones that do not fit."""
    made = pb.Session()
    made.CopyFrom(session)
    turn = made.turns.add(question=question, answer=answer, time=timestamp(now_s))
    if turn.ByteSize() > MAX_BYTES:
        for each in turn.answer.citations:
            each.text = ""
        turn.answer.text = turn.answer.text[:_MAX_TEXT]
        del turn.answer.notes[:]
    while len(made.turns) > max_turns or (made.ByteSize() > MAX_BYTES and len(made.turns) > 1):
        drop_oldest(made)
    return made


def drop_oldest(session: pb.Session) -> None:
    """Drop a session's oldest turn."""
    del session.turns[0]
    session.dropped_turns += 1
