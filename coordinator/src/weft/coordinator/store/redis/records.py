"""Between the store's records and what is in Redis: queue names, options, tasks. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from weft.coordinator.rules import DEFAULT_RETRY, QueueKey, Requirements, RetryPolicy, State
from weft.coordinator.store import outcomes
from weft.coordinator.store.base import Submission, TaskRecord

Record = dict[str, Any]
_DEFAULTS = Submission("")


def pack(value: Any) -> bytes:
    packed: Any = msgpack.packb(value, use_bin_type=False)
    return bytes(packed)


def unpack(raw: bytes) -> Any:
    """As Lua packed it: strings are bytes."""
    return msgpack.unpackb(raw, raw=True, strict_map_key=False)


def record_of(raw: bytes) -> Record:
    """A task's record. Its strings are all text."""
    record: Record = msgpack.unpackb(raw, raw=False, unicode_errors="surrogateescape")
    return record


def queue_name(key: QueueKey) -> str:
    if not key.requirements.labels and not key.requirements.resources:
        return key.method
    return f"{key.method}\n{json.dumps(key.requirements, separators=(',', ':'))}"


def queue_key(name: str) -> QueueKey:
    method, _, text = name.partition("\n")
    if not text:
        return QueueKey(method)
    labels, resources = json.loads(text)
    return QueueKey(method, Requirements(_pairs(labels), _pairs(resources)))


def _pairs(items: list[list[Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple((key, value) for key, value in items)


def options_of(submission: Submission) -> str | None:
    """What a script needs beside the times, as JSON; None where all of it is default."""
    options: Record = {
        name: getattr(submission, name)
        for name in ("start_to_close_s", "result_ttl_s", "failure_ttl_s")
        if getattr(submission, name) != getattr(_DEFAULTS, name)
    }
    retry = submission.retry
    if retry != DEFAULT_RETRY:
        options["retry"] = [
            retry.max_attempts,
            retry.initial_backoff_s,
            retry.max_backoff_s,
            retry.backoff_multiplier,
            sorted(retry.retryable_codes),
            retry.max_crashes,
        ]
    return json.dumps(options, separators=(",", ":")) if options else None


def _options(text: str | None) -> Record:
    if text is None:
        return {}
    options: Record = json.loads(text)
    if "retry" in options:
        attempts, initial_s, most_s, multiplier, codes, crashes = options["retry"]
        options["retry"] = RetryPolicy(attempts, initial_s, most_s, multiplier, frozenset(codes), crashes)
    return options


def task(task_id: str, record: Record, *, body: bytes | None, outcome: bytes | None) -> TaskRecord:
    """The task behind a record.

    Args:
        body: its `b:` key, when asked for.
        outcome: its `o:` key, when there is one.
    """
    payload, context = unpack(body) if body else (b"", b"")
    key = queue_key(record["q"])
    state = State(int(record["s"]))
    return TaskRecord(
        task_id,
        state,
        Submission(
            key.method,
            payload,
            task_id,
            record.get("r", ""),
            int(record["p"]),
            float(record.get("d", 0.0)),
            _seconds(record.get("ss")),
            schedule_to_close_s=_seconds(record.get("sc")),
            requirements=key.requirements,
            context=context,
            **_options(record.get("x")),
        ),
        attempt=int(record["a"]),
        crashes=int(record.get("k", 0)),
        agent_id=record.get("oa", ""),
        cancel_requested="ce" in record,
        progress_count=int(record.get("n", 0)),
        created_at=float(record["c"]),
        ready_at=float(record["at"]),
        started_at=_seconds(record.get("st")),
        finished_at=_seconds(record.get("fi")),
        expires_at=_seconds(record.get("ex")),
        outcome=_said(record["e"]) if "e" in record else outcome or b"",
        expired=bool(record.get("z", False)),
    )


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


def _said(name: str) -> bytes:
    """The outcome that a script named."""
    kind, _, about = name.partition(":")
    if kind == "time_limit":
        return outcomes.time_limit(about)
    if kind == "crash_loop":
        return outcomes.crash_loop(int(about))
    return outcomes.cancelled(about)
