"""Conversions between the store's records and the values in Redis: queue names, tasks, attempts, run limits. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgpack

from weft.coordinator.store import store_outcomes, stored_options, waited
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.history import rerun
from weft.coordinator.store.records import AttemptRecord, Claimed, Owner, Submission, TaskRecord
from weft.coordinator.store.rules import QueueKey, Requirements, State
from weft.coordinator.store.run_limits import GateKey, LimitAction, LockClaim, RunLimitRule, RunLimitRules
from weft.coordinator.store.state_store import StateWrite, StoredState, kept_by

Record = dict[str, Any]
# First bytes of the name of an outcome that a script gave to an attempt. No serialized outcome begins so.
_NAMED = b"time_limit:"
# Queue names that are remembered.
_QUEUES = 4096
# The label of the avoided agent, in the name of a queue. No agent has it: a coordinator that does not know such queues leaves
# their tasks to others.
_AVOID = ""
# First letters of the entries of gates.
_RUN_LIMIT, _EXCLUSIVE, _SHARED = "r", "x", "s"


def pack(value: Any) -> bytes:
    packed: Any = msgpack.packb(value, use_bin_type=False)
    return bytes(packed)


def unpack(raw: bytes) -> Any:
    """Unpack a value from Lua. Strings are bytes."""
    return msgpack.unpackb(raw, raw=True, strict_map_key=False)


def record_of(raw: bytes) -> Record:
    """A task's record. Its strings are text."""
    record: Record = msgpack.unpackb(raw, raw=False, unicode_errors="surrogateescape")
    return record


@lru_cache(_QUEUES)
def queue_name(key: QueueKey) -> str:
    labels, resources, consumes = key.requirements
    if key.avoid:
        labels = ((_AVOID, key.avoid), *labels)
    if not labels and not resources and not consumes:
        return key.method
    parts = [labels, resources, consumes] if consumes else [labels, resources]
    return f"{key.method}\n{json.dumps(parts, separators=(',', ':'))}"


@lru_cache(_QUEUES)
def queue_key(name: str) -> QueueKey:
    method, _, text = name.partition("\n")
    if not text:
        return QueueKey(method)
    labels, resources, *consumes = json.loads(text)
    avoid = labels.pop(0)[1] if labels and labels[0][0] == _AVOID else ""
    return QueueKey(method, Requirements(_pairs(labels), _pairs(resources), *map(_pairs, consumes)), avoid)


def _pairs(items: list[list[Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple((key, value) for key, value in items)


def _past_attempts(raw: bytes | None) -> tuple[AttemptRecord, ...]:
    """The history in an `h:` key."""
    return tuple(_past_attempt(*item) for item in unpack(raw)) if raw else ()


def _past_attempt(
    number: int,
    agent_id: bytes,
    started_at: float,
    ended_at: float,
    what: bytes | bool,
    crashed: bool,  # the order is that in Redis
    released: bool,
) -> AttemptRecord:
    outcome = b"" if isinstance(what, bool) else what
    if outcome.startswith(_NAMED):
        outcome = _named_outcome(outcome.decode())
    return AttemptRecord(
        int(number), agent_id.decode(), float(started_at), float(ended_at), outcome, crashed, released
    )


def packable_attempt(attempt: AttemptRecord) -> tuple[Any, ...]:
    """An attempt as the scripts take it."""
    return (
        attempt.number,
        attempt.agent_id,
        attempt.started_at or 0.0,
        attempt.ended_at or 0.0,
        attempt.outcome or False,
        attempt.crashed,
        attempt.released,
    )


def task(
    task_id: str,
    record: Record,
    *,
    body: bytes | None,
    outcome: bytes | None,
    past: bytes | None = None,
) -> TaskRecord:
    """The task behind a record.

    Args:
        body: its `b:` key, if read.
        outcome: its `o:` key, if there is one.
        past: its `h:` key, if read.
    """
    payload, context = unpack(body) if body else (b"", b"")
    key, options = queue_key(record["q"]), stored_options.decode(record["x"])
    state = _STATES[int(record["s"])]
    ended = state.terminal
    submission = Submission(
        key.method,
        payload,
        task_id,
        record.get("r", ""),
        int(record["p"]),
        float(record.get("d", 0.0)),
        _seconds(record.get("ss")),
        options.start_to_close_s,
        _seconds(record.get("sc")),
        options.retry,
        key.requirements,
        context,
        options.result_ttl_s,
        options.failure_ttl_s,
        options.request_id_ttl_s,
    )
    if not record.keys().isdisjoint(_OF_FEW):
        _fill_in(submission, record)
    return TaskRecord(
        task_id,
        state,
        submission,
        attempt=int(record["a"]),
        crashes=int(record.get("k", 0)),
        agent_id=record.get("oa", ""),
        cancel_requested="ce" in record,
        progress_count=int(record.get("n", 0)),
        created_at=float(record["c"]),
        ready_at=float(record["at"] if "at" in record else record["c"]),
        started_at=_seconds(record.get("st")),
        finished_at=_seconds(record.get("fi")),
        expires_at=_seconds(record.get("ex")),
        outcome=_named_outcome(record["e"]) if "e" in record else outcome or b"",
        expired=bool(record.get("z", False)),
        failures=0 if ended else int(record.get("f", 0)),
        close_at=None if ended else _close_at(record),
        history=_past_attempts(past),
        limited_by=str(gate_key(record["pk"])) if "pk" in record else "",
        avoid="" if ended else key.avoid,
    )


# Fields of a record that only few tasks have, and that `_fill_in` reads.
_OF_FEW = ("by", "fb", "fk", "fw", "g", "gr", "l")
# Calls of an enum take ten times as long.
_STATES = {int(state): state for state in State}


def _fill_in(submission: Submission, record: Record) -> None:
    """What few submissions say."""
    submission.fairness_key = record.get("fk", "")
    submission.fairness_weight = float(record.get("fw", 1.0))
    submission.limit_keys = tuple(_flat_pairs(record.get("g", ())))
    submission.group = record.get("gr", "")
    submission.locks = _lock_claims(record.get("l", ()), record.get("ks", ""))
    submission.alternatives = tuple(_alternative(*each) for each in record.get("fb", ()))
    submission.alternative = int(record.get("fo", 1)) - 1
    submission.submitter = record.get("by", "")


def claimed(  # claim.lua's result, in its order
    owner: Owner,
    raw_id: bytes,
    raw: bytes,
    body: bytes | bool,
    cost: int,
    deadline_at: float | bool,
    last: Sequence[Any] | bool,
    state: bytes | bool | None = None,
) -> Claimed:
    """A claim from claim.lua."""
    record = record_of(raw)
    payload, context = unpack(body) if isinstance(body, bytes) else (b"", b"")
    key = queue_key(record["q"])
    return Claimed(
        raw_id.decode(),
        int(record["a"]),
        owner,
        key.method,
        payload,
        context,
        record.get("r", ""),
        int(record["p"]),
        cost,
        float(deadline_at) if deadline_at is not False else None,
        key.requirements.consumes,
        float(record["at"] if "at" in record else record["c"]),
        None if isinstance(last, bool) else rerun(_past_attempt(*last), requested=_requested(record)),
        None
        if state is None
        else stored_state(record["ks"], unpack(state) if isinstance(state, bytes) else ()),
    )


def stored_state(name: str, found: Sequence[Any]) -> StoredState:
    """A state of states.lua; nothing: there is none."""
    if not found:
        return StoredState(name)
    version, value, kind, updated_at, ends_at, task_id = found
    return StoredState(
        name,
        int(version),
        value,
        kind.decode(),
        float(updated_at),
        None if ends_at is False else float(ends_at),
        task_id.decode(),
    )


def packable_change(write: StateWrite) -> tuple[Any, ...]:
    """A change, for states.lua."""
    return (
        False if write.base_version is None else write.base_version,
        False if write.value is None else write.value,
        write.type,
        False if write.ttl_s is None else write.ttl_s,
    )


def _requested(record: Record) -> bool:
    """Whether a claimed task has this attempt because of RetryTask. A fallback (`ff`) is another reason, and sets `fa` too."""
    return "ra" in record and "ff" not in record and bool(record.get("fa", 0) == record["a"] - 1)


# -- run limits and locks: gate_states.lua documents the names of gates -----------------------------------------------


def packable_alternatives(submission: Submission) -> list[tuple[Any, ...]]:
    """The alternatives of a task, for `fb`."""
    return [
        (
            queue_name(QueueKey(each.method, each.requirements)),
            stored_options.encode(
                stored_options.options_of(submission)._replace(
                    retry=each.retry, start_to_close_s=each.start_to_close_s
                )
            ),
            False if each.schedule_to_start_s is None else each.schedule_to_start_s,
            _flat_keys(each.limit_keys),
            _lock_entries(each.locks),
            *((state,) if (state := kept_by(each.locks)) else ()),
        )
        for each in submission.alternatives
    ]


def _alternative(
    queue: str, options: str, to_start_s: float | bool, limit_keys: Any, locks: Any, state: str = ""
) -> Alternative:
    key, given = queue_key(queue), stored_options.decode(options)
    return Alternative(
        key.method,
        key.requirements,
        given.retry,
        None if to_start_s is False else float(to_start_s),
        given.start_to_close_s,
        tuple(_flat_pairs(limit_keys or ())),
        _lock_claims(locks or (), state),
    )


def _flat_keys(keys: Sequence[tuple[str, str]]) -> list[str] | bool:
    return [text for pair in keys for text in pair] or False


def _lock_entries(locks: Sequence[LockClaim]) -> list[str] | bool:
    return [f"{_SHARED if shared else _EXCLUSIVE}{name}" for name, shared, _ in locks] or False


def _lock_claims(entries: Sequence[str], state: str) -> tuple[LockClaim, ...]:
    return tuple(LockClaim(entry[1:], entry[0] == _SHARED, entry[1:] == state) for entry in entries)


def packable_gates(submission: Submission, group_bounds: tuple[int, int]) -> tuple[Any, ...] | None:
    """What a task says of gates, turns and its group, for enqueue.lua; None: nothing.

    Args:
        group_bounds: most groups, and most tasks of one.
    """
    keys, locks, fairness = submission.limit_keys, submission.locks, submission.fairness_key
    if not (keys or locks or fairness or submission.group):
        return None
    gates = (
        _flat_keys(keys),
        _lock_entries(locks),
        fairness or False,
        submission.fairness_weight if submission.fairness_weight != 1.0 else False,
    )
    return (*gates, (submission.group, *group_bounds)) if submission.group else gates


def gate_key(entry: str) -> GateKey:
    """The gate behind an entry."""
    if entry[0] != _RUN_LIMIT:
        return GateKey.of_lock(entry[1:])
    return GateKey(*entry[1:].split("\n", 2))


def packable_rules(rules: RunLimitRules) -> dict[str, tuple[Any, ...]]:
    """The rules of a method, for limits.lua."""
    return {
        expression: (
            rule.max_running or False,
            rule.rate_per_s or False,
            rule.bucket_size,
            int(rule.at_limit),
            rule.grace_s,
            rule.burst,
        )
        for expression, rule in rules.items()
    }


def rules_of(raw: bytes) -> dict[str, RunLimitRule]:
    """The rules of a method in `limits`."""
    return {
        expression: RunLimitRule(int(most), float(rate), int(burst), LimitAction(int(action)), float(grace_s))
        for expression, (most, rate, _, action, grace_s, burst, *_) in record_of(raw).items()
    }


def _flat_pairs(items: Sequence[str]) -> Iterator[tuple[str, str]]:
    texts = iter(items)
    return zip(texts, texts, strict=True)


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


def _close_at(record: Record) -> float | None:
    """When schedule_to_close passes."""
    if record.get("sc") is None:
        return None
    began_at = record["ra"] if "ra" in record else record["c"]
    return float(began_at + record["sc"])


def _named_outcome(name: str) -> bytes:
    """The outcome behind a name that a script gave."""
    kind, _, about = name.partition(":")
    if kind == "time_limit":
        return _time_limit(about)
    if kind == "no_agent":
        seconds, _, text = about.partition("\n")
        return store_outcomes.no_agent(waited.queued(float(seconds), text))
    if kind == "crash_loop":
        return store_outcomes.crash_loop(int(about))
    return store_outcomes.cancelled(about)


def _time_limit(about: str) -> bytes:
    """The outcome behind limit_name in moves.lua; earlier coordinators wrote the limit alone."""
    limit, _, rest = about.partition("\n")
    kind, *parts = rest.split("\n", 2 if rest.startswith(("queued", "parked")) else -1)
    match kind, parts:
        case "queued", [seconds, text]:
            what = waited.queued(float(seconds), text)
        case "parked", [seconds, gate]:
            what = waited.queued(float(seconds), f"the {gate_key(gate)}")
        case "running", [attempt, most, seconds, agent_id]:
            what = waited.running(int(attempt), int(most), agent_id, float(seconds))
        case "scheduled", [failures, most, seconds]:
            in_s = max(0.0, float(seconds))
            failed = int(failures)
            what = waited.scheduled(
                waited.next_try(failed, int(most), in_s) if failed else waited.start_time(in_s)
            )
        case _:
            what = ""
    return store_outcomes.time_limit(limit, what)
