"""Generated records of a mesh's state, and what of them is the same in every mesh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.lightweight import CALL, ECHO
from weft.v1 import (
    event_pb2,
    hook_pb2,
    keyed_state_pb2,
    options_pb2,
    pool_pb2,
    schedule_pb2,
    state_pb2,
    task_pb2,
    usage_pb2,
)

TOPIC = "probe.v1.ProbeRequest"
Records = list[state_pb2.StateRecord]

names = st.from_regex(r"[a-z][a-z0-9]{0,11}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "Zs"]), max_size=20)
payloads = st.builds(lambda text: ProbeRequest(text=text).SerializeToString(), texts)
times = st.integers(1_700_000_000, 1_800_000_000).map(lambda at: Timestamp(seconds=at))
Record = state_pb2.StateRecord


def named(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, max_size=4, unique_by=lambda each: each.name)


methods = named(
    st.builds(
        state_pb2.StateMethod,
        name=st.sampled_from([ECHO, CALL]),
        paused=st.just(True),
        override=st.none() | st.builds(options_pb2.TaskPolicy, slot_cost=st.integers(1, 9)),
    )
)
schedules = named(
    st.builds(
        schedule_pb2.Schedule,
        name=names,
        uid=st.from_regex("[0-9a-f]{16}", fullmatch=True),
        spec=st.builds(
            schedule_pb2.ScheduleSpec, method=st.just(ECHO), payload=payloads, cron=st.just("0 0 1 1 *")
        ),
        create_time=times,
        next_time=st.just(Timestamp(seconds=4_000_000_000)),
        paused=st.booleans(),
        pause_reason=texts,
    )
)
templates = st.builds(
    pool_pb2.PoolTemplate,
    provider=st.just("process"),
    command=st.just(["true"]),
    slots=st.integers(0, 9),
    labels=st.dictionaries(names, names, max_size=3),
    environment=st.dictionaries(names, texts, max_size=2),
)
pools = named(
    st.builds(
        pool_pb2.Pool,
        name=names,
        spec=st.builds(pool_pb2.PoolSpec, template=templates, size=st.integers(0, 9)),
        version=st.integers(2, 3),
        last_version=st.just(3),
        previous_version=st.just(1),
        previous_template=templates,
        percent=st.integers(0, 99),
        # So that no member is started.
        stopped=st.just(True),
        paused=st.booleans(),
        pause_reason=texts,
    )
)
budgets = named(
    st.builds(
        usage_pb2.Budget,
        name=names,
        method=st.sampled_from([ECHO, CALL]),
        unit=st.sampled_from(["tokens", "attempts", "slot_s"]),
        amount=st.floats(1, 1e9),
        period=st.sampled_from([usage_pb2.BUDGET_PERIOD_TOTAL, usage_pb2.BUDGET_PERIOD_MONTH]),
        action=st.just(usage_pb2.BUDGET_ACTION_REFUSE),
    )
)
keyed_states = named(
    st.builds(
        keyed_state_pb2.KeyedState,
        name=st.text(min_size=1, max_size=20),
        value=st.binary(max_size=200),
        type=st.sampled_from(["", "json", "probe.v1.ProbeRequest"]),
        version=st.integers(1, 9),
        expire_time=st.none() | st.just(Timestamp(seconds=4_000_000_000)),
    )
)
hooks = named(
    st.builds(
        hook_pb2.Hook,
        name=names,
        uid=st.from_regex("[0-9a-f]{16}", fullmatch=True),
        spec=st.builds(
            hook_pb2.HookSpec,
            incoming=st.one_of(
                st.builds(
                    hook_pb2.IncomingHook,
                    kind=st.sampled_from([hook_pb2.HOOK_KIND_GITHUB, hook_pb2.HOOK_KIND_STANDARD]),
                    task=st.builds(hook_pb2.HookTask, method=st.sampled_from([ECHO, CALL])),
                ),
                st.builds(
                    hook_pb2.IncomingHook,
                    kind=st.just(hook_pb2.HOOK_KIND_STRIPE),
                    event=st.builds(hook_pb2.HookEvent, topic=st.just(TOPIC), key=names),
                ),
            ),
        ),
        create_time=times,
        paused=st.just(True),
        pause_reason=texts,
    )
)
subscriptions = named(
    st.builds(
        event_pb2.Subscription,
        name=names,
        spec=st.builds(
            event_pb2.SubscriptionSpec,
            topic=st.just(TOPIC),
            partitions=st.integers(0, 64),
        ),
        cursor=st.integers(0, 8),
        paused=st.booleans(),
        pause_reason=texts,
    )
)
events = st.lists(
    st.builds(
        event_pb2.Event,
        topic=st.just(TOPIC),
        id=st.uuids().map(str),
        key=texts,
        publish_time=times,
        payload=payloads,
        attributes=st.dictionaries(st.just("source"), texts),
    ),
    max_size=8,
)
tasks = st.lists(
    st.builds(
        task_pb2.Task,
        id=st.from_regex("[0-9a-f]{16}", fullmatch=True),
        method=st.sampled_from([ECHO, CALL]),
        payload=payloads,
        request_id=names,
        state=st.sampled_from([task_pb2.TASK_STATE_QUEUED, task_pb2.TASK_STATE_FAILED]),
        options=st.builds(task_pb2.TaskOptions, priority=st.integers(1, 9), fairness_key=names),
    ),
    max_size=6,
    unique_by=lambda each: each.request_id,
)


# By the kind of record, in the order of an export. `test_state_kinds` compares them with the contract.
GENERATED: dict[str, st.SearchStrategy[list[Any]]] = {
    "method": methods,
    "schedule": schedules,
    "pool": pools,
    "budget": budgets,
    "keyed_state": keyed_states,
    "hook": hooks,
    "task": tasks.map(lambda found: [state_pb2.StateTask(task=each) for each in found]),
    "event": events,
    "subscription": subscriptions,
}


@st.composite
def states(draw: st.DrawFn) -> Records:
    records: Records = []
    for kind, strategy in GENERATED.items():
        for sequence, each in enumerate(draw(strategy), start=1):
            if kind == "event":
                each.sequence = sequence
            records.append(Record(**{kind: each}))
    return records


def plain(records: Iterable[state_pb2.StateRecord]) -> Counter[str]:
    """What of them is the same in every mesh."""
    found: Counter[str] = Counter()
    for record in records:
        kind = record.WhichOneof("record")
        if kind in ("header", "end", "contract", None):
            continue
        made = Record()
        made.CopyFrom(record)
        if kind == "keyed_state":
            for field in ("version", "update_time", "task_id"):
                made.keyed_state.ClearField(field)
            if made.keyed_state.HasField("expire_time"):
                # Times of stores are floats.
                ends = made.keyed_state.expire_time
                ends.FromSeconds(round(ends.ToNanoseconds() / 1e9))
        if kind == "task":
            options, task = made.task.task.options, made.task.task
            options.ClearField("group")
            made = Record(
                task=state_pb2.StateTask(
                    task=task_pb2.Task(
                        method=task.method,
                        payload=task.payload,
                        request_id=task.request_id,
                        state=task.state,
                        options=options,
                    ),
                    outcome=made.task.outcome,
                )
            )
        elif kind == "event":
            made.event.ClearField("publish_time")
        elif kind == "budget":
            made.budget.ClearField("create_time")
            made.budget.ClearField("used_before")
        elif kind == "hook":
            made.hook.ClearField("update_time")
        elif kind == "schedule":
            made.schedule.ClearField("update_time")
        elif kind == "subscription":
            for field in ("uid", "create_time", "start_sequence"):
                made.subscription.ClearField(field)
        found[f"{kind} {made.SerializeToString(deterministic=True)!r}"] += 1
    return found
