"""Calls of Celery's tasks by callers that are not Celery."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from tests.fuzz.target import target, text_of
from weft.rpc.errors import InvalidArgument

_NOW = datetime(2026, 12, 1, tzinfo=UTC)


@target(
    "weft/compat/celery/call_messages",
    seeds=lambda: [
        b"[1, 2.5, null]\0{}\0{}",
        b'[]\0{"x": {"__type__": "datetime", "__value__": "2026-12-01T00:00:00"}}\0{"priority": 3, "queue": "q"}',
        b'[]\0{}\0{"headers": {"id": "a", "retries": 2, "eta": "2026-12-01T01:00:00+00:00", "timelimit": [3, null]}, "embed": {"chain": []}}',
        b'["PROGRESS", "{}"]',
        b'[{"__type__": "decimal", "__value__": "1.1"}]\0\0',
    ],
    raises=(InvalidArgument,),
    max_bytes=8192,
)
def task_call(data: bytes) -> None:
    from weft.celery.v1.celery_pb2 import TaskCall
    from weft.compat.celery.call_messages import TaskMessage, read_state

    read_state(data)
    args, _, rest = text_of(data).partition("\0")
    kwargs, _, about = rest.partition("\0")
    made = TaskMessage.of_call("t", TaskCall(args_json=args, kwargs_json=kwargs, message_json=about), "own")
    assert isinstance(made.args, list)
    assert isinstance(made.kwargs, dict)
    assert made.id
    assert math.isfinite(made.delay_s(_NOW))
    assert made.retries >= 0
