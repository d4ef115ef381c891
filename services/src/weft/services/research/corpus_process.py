"""The process that reads and indexes a corpus. It may run in a sandbox, by a plain Python, from its text: it imports the standard library alone.

The agent asks by lines of JSON on the standard input, each answered by one line: {"ok": …} or {"error": "…"}. With the input's end it ends. The index is SQLite's
full text search, in memory; before an answer, what has changed in the folder is read again, every two seconds at most.

    folder ─► files by allow-list and bounds, no links followed ─► passages of some lines ─► index ─► bm25
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import os
import re
import sqlite3
import stat
import sys
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

REFRESH_S = 2.0
MAX_DEPTH = 32
MAX_LIMIT = 20
MAX_READ_LINES = 400
MAX_READ_CHARS = 32_768
MAX_LISTED = 200
_PASSAGE_LINES = 12
_PASSAGE_CHARS = 1200
_MAX_WORDS = 32
_WORD = re.compile(r"\w+")
# Words that say nothing of what is asked.
_STOP = """a an and are as at be been but by can could did do does for from had has have how i if in into is it its may me my no not of on or our
shall should so than that the their them then there these they this to us was we were what when where which who whom whose why will with would you your"""
STOP_WORDS = frozenset(_STOP.split())


class CorpusFault(Exception):
    """What is asked cannot be answered; the message says why."""


@dataclasses.dataclass(frozen=True)
class CorpusBounds:
    """Which files belong to the corpus."""

    suffixes: tuple[str, ...]
    max_files: int
    max_file_bytes: int
    max_corpus_bytes: int


def words_of(question: str) -> list[str]:
    """The words that are searched, each once; those that say nothing are left out if there are others."""
    found = list(dict.fromkeys(_WORD.findall(question.lower()[:4096])))
    return ([each for each in found if each not in STOP_WORDS] or found)[:_MAX_WORDS]


def passages_of(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """First and last line, from 1, of each passage: it ends at an empty line, or when it is long."""
    first, chars, count = 0, 0, 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            first = first or number
            chars += len(line)
            count += 1
        ends = count >= _PASSAGE_LINES or chars >= _PASSAGE_CHARS or (not line.strip() and count >= 3)
        if first and (ends or number == len(lines)):
            yield first, number
            first, chars, count = 0, 0, 0


def located(lines: Sequence[str], quote: str, first: int, last: int) -> tuple[int, int] | None:
    """The lines that have a quote: those that are named, or else the nearest ones; white space does not count. None: nowhere.

    Without a quote: the named lines, if they exist and are not empty.
    """
    wanted = " ".join(quote.split())
    if not wanted:
        there = 1 <= first <= last <= len(lines) and any(each.strip() for each in lines[first - 1 : last])
        return (first, last) if there else None
    starts: list[int] = []
    parts: list[str] = []
    size = 0
    for line in lines:
        starts.append(size)
        if flat := " ".join(line.split()):
            parts.append(flat)
            size += len(flat) + 1
    joined = " ".join(parts)
    best: tuple[int, int, int] | None = None
    at = joined.find(wanted)
    while at >= 0:
        begin = _line_at(starts, at)
        end = _line_at(starts, at + len(wanted) - 1)
        distance = 0 if first <= begin and end <= last else 1 + abs(begin - first)
        if best is None or distance < best[0]:
            best = (distance, begin, end)
        at = joined.find(wanted, at + 1)
    if best is None:
        return None
    return (first, last) if best[0] == 0 and last <= len(lines) else best[1:]


def _line_at(starts: Sequence[int], offset: int) -> int:
    # Empty lines begin where the next one does: of equal starts the last line is meant.
    return bisect.bisect_right(starts, offset)


class Corpus:
    """A folder and its index.

    Raises:
        CorpusFault: it is no folder, or this Python has no full text search.
    """

    def __init__(self, folder: str, bounds: CorpusBounds) -> None:
        self._folder = os.path.realpath(folder)
        if not Path(self._folder).is_dir():
            raise CorpusFault("the corpus is no folder, or cannot be read")
        self._bounds = bounds
        self._index = sqlite3.connect(":memory:")
        try:
            self._index.execute(
                'CREATE VIRTUAL TABLE passages USING fts5(path, text, first UNINDEXED, last UNINDEXED, tokenize="porter unicode61")'
            )
        except sqlite3.OperationalError as error:
            raise CorpusFault(f"this Python's SQLite has no full text search (FTS5): {error}") from error
        # By path: size and time of change, and the rows of its passages.
        self._files: dict[str, tuple[tuple[int, int], list[int]]] = {}
        self._left_out = 0
        self._read_at_s = -REFRESH_S

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """The best passages for a query's words, best first."""
        self._refresh()
        words = words_of(query)
        if not words:
            return []
        match = " OR ".join(f'"{each}"' for each in words)
        rows = self._index.execute(
            "SELECT path, first, last, text FROM passages WHERE passages MATCH ? ORDER BY bm25(passages, 0.5, 1.0), path, first LIMIT ?",
            (match, max(1, min(limit, MAX_LIMIT))),
        )
        return [dict(zip(("path", "first", "last", "text"), row, strict=True)) for row in rows]

    def read(self, path: str, first: int, last: int) -> dict[str, Any]:
        """Lines of a file, as many as are answered at a time."""
        lines = self._lines_of(path)
        first = max(1, first)
        last = min(last or len(lines), len(lines), first + MAX_READ_LINES - 1)
        taken: list[str] = []
        chars = 0
        for line in lines[first - 1 : last]:
            chars += len(line)
            if chars > MAX_READ_CHARS and taken:
                break
            taken.append(line[:MAX_READ_CHARS])
        return {"first": first, "lines": taken, "total": len(lines)}

    def locate(self, path: str, quote: str, first: int, last: int) -> dict[str, Any] | None:
        """Where a file has a quote, and these lines."""
        try:
            lines = self._lines_of(path)
        except CorpusFault:
            return None
        place = located(lines, quote, first, last)
        if place is None:
            return None
        return {"first": place[0], "last": place[1], "text": "\n".join(lines[place[0] - 1 : place[1]])[:2000]}

    def files(self, match: str) -> dict[str, Any]:
        """The paths that have a text."""
        self._refresh()
        found = sorted(each for each in self._files if match.lower() in each.lower())
        return {"paths": found[:MAX_LISTED], "more": len(found) > MAX_LISTED, "left_out": self._left_out}

    def _lines_of(self, path: str) -> list[str]:
        self._refresh()
        if path not in self._files:
            raise CorpusFault("the corpus has no such file")
        text = self._text_of(path)
        if text is None:
            raise CorpusFault("the file cannot be read")
        return _lines(text)

    def _refresh(self) -> None:
        now_s = time.monotonic()
        if now_s - self._read_at_s < REFRESH_S:
            return
        present = self._scan()
        for path in [each for each in self._files if self._files[each][0] != present.get(each)]:
            for row in self._files.pop(path)[1]:
                self._index.execute("DELETE FROM passages WHERE rowid = ?", (row,))
        for path in present.keys() - self._files.keys():
            self._files[path] = (present[path], self._add(path))
        unread = [path for path, (_, rows) in self._files.items() if rows == [-1]]
        for path in unread:
            del self._files[path]
        self._left_out += len(unread)
        self._read_at_s = time.monotonic()

    def _add(self, path: str) -> list[int]:
        """The rows of a file's passages; [-1]: it is no text, or cannot be read."""
        text = self._text_of(path)
        if text is None:
            return [-1]
        lines = _lines(text)
        rows: list[int] = []
        for first, last in passages_of(lines):
            passage = "\n".join(lines[first - 1 : last]).rstrip()
            made = self._index.execute(
                "INSERT INTO passages(path, text, first, last) VALUES (?, ?, ?, ?)",
                (path, passage[:8192], first, last),
            )
            rows.append(made.lastrowid or 0)
        return rows

    def _scan(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        self._left_out, total, folders = 0, 0, [("", 0)]
        while folders:
            folder, depth = folders.pop()
            try:
                with os.scandir(Path(self._folder, folder)) as listed:
                    entries = sorted(listed, key=lambda each: each.name)
            except OSError:
                self._left_out += 1
                continue
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                # Names that are no text cannot be answered.
                if entry.name.startswith(".") or not _is_text(path) or entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if depth < MAX_DEPTH:
                        folders.append((path, depth + 1))
                    continue
                if not path.lower().endswith(self._bounds.suffixes) or not entry.is_file(
                    follow_symlinks=False
                ):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                fits = (
                    len(found) < self._bounds.max_files
                    and status.st_size <= self._bounds.max_file_bytes
                    and total + status.st_size <= self._bounds.max_corpus_bytes
                )
                if not fits:
                    self._left_out += 1
                    continue
                total += status.st_size
                found[path] = (status.st_size, status.st_mtime_ns)
        return found

    def _text_of(self, path: str) -> str | None:
        """A file's text; each part of its path is opened without following a link, whatever has changed since the scan."""
        follow = os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            *folders, name = path.split("/")
            for folder in folders:
                inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | follow, dir_fd=opened)
                os.close(opened)
                opened = inner
            file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | follow, dir_fd=opened)
        except OSError:
            return None
        finally:
            os.close(opened)
        with os.fdopen(file, "rb") as reading:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return None
            try:
                data = reading.read(self._bounds.max_file_bytes + 1)
            except OSError:
                return None
        if len(data) > self._bounds.max_file_bytes or b"\0" in data:
            return None
        return data.decode("utf-8", "replace")


def _lines(text: str) -> list[str]:
    lines = [each.rstrip("\r") for each in text.split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path.isprintable()


def answer_to(corpus: Corpus, line: str | bytes) -> dict[str, Any]:
    """The answer to a question, as it came."""
    try:
        asked = json.loads(line)
        kind = asked["op"]
        if kind == "search":
            return {"ok": corpus.search(str(asked["query"]), int(asked["limit"]))}
        place = int(asked.get("first") or 0), int(asked.get("last") or 0)
        if kind == "read":
            return {"ok": corpus.read(str(asked["path"]), *place)}
        if kind == "locate":
            return {"ok": corpus.locate(str(asked["path"]), str(asked["quote"]), *place)}
        if kind == "files":
            return {"ok": corpus.files(str(asked["match"]))}
    except CorpusFault as error:
        return {"error": str(error)}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {"error": "the question cannot be read"}
    except (OSError, sqlite3.Error) as error:
        return {"error": f"the corpus cannot be read ({type(error).__name__})"}
    return {"error": "there is no such question"}


def main() -> None:
    given = json.loads(sys.argv[1])
    folder = given.pop("folder")
    given["suffixes"] = tuple(given["suffixes"])
    corpus: Corpus | None = None
    fault = ""
    try:
        corpus = Corpus(folder, CorpusBounds(**given))
    except CorpusFault as error:
        fault = str(error)
    for line in sys.stdin.buffer:
        answer = {"error": fault} if corpus is None else answer_to(corpus, line)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
