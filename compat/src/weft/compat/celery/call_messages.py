"""A call of a task, between Celery's headers and body and the contract's `TaskCall`. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from weft.celery.v1 import celery_pb2
from weft.rpc.errors import InvalidArgument


class MalformedCall(InvalidArgument):
    """A `TaskCall` that holds other JSON than it should."""


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One call of a task, as Celery's protocol 2 has it.

    Args:
        task: the task's name.
        args: the positional arguments.
        kwargs: the keyword arguments.
        headers: Celery's: `id`, `retries`, `eta`, `root_id` and so on.
        embed: what comes after the task: callbacks, errbacks, chain, chord.
        queue: the name of its queue; empty: not known.
        priority: 0 to 9; None: not said.
    """

    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    embed: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""
    priority: int | None = None

    @property
    def id(self) -> str:
        """The task's id at Celery; empty: the caller is not Celery."""
        return str(self.headers.get("id") or "")

    @property
    def retries(self) -> int:
        return int(self.headers.get("retries") or 0)

    def delay_s(self, now: datetime) -> float:
        """Seconds until it may start."""
        return _left_s(self.headers.get("eta"), now) or 0.0

    def expires_s(self, now: datetime) -> float | None:
        """Seconds until it must have started; None: no limit. At least one millisecond: it is out of time at once, then."""
        left_s = _left_s(self.headers.get("expires"), now)
        return None if left_s is None else max(left_s, 0.001)

    def to_call(self) -> celery_pb2.TaskCall:
        """
        Raises:
            EncodeError: a value is none of JSON.
        """
        # Without its process: the same call from another one is the same task.
        headers = {name: value for name, value in self.headers.items() if name != "origin"}
        about = {
            "headers": headers,
            "embed": self.embed,
            "queue": self.queue,
            "priority": self.priority,
        }
        return celery_pb2.TaskCall(
            args_json=to_json(list(self.args), f"an argument of {self.task}"),
            kwargs_json=to_json(dict(self.kwargs), f"an argument of {self.task}"),
            message_json=to_json(about, f"an option of {self.task}"),
        )

    @classmethod
    def of_call(cls, task: str, call: celery_pb2.TaskCall, own_id: str) -> TaskMessage:
        """The call of a task, of Celery or of another caller.

        Args:
            own_id: the id of a caller's task that is not Celery.

        Raises:
            MalformedCall: it is no JSON, or of another form.
        """
        about = _of_json("message_json", call.message_json, dict)
        headers, embed = about.get("headers") or {}, about.get("embed") or {}
        if not isinstance(headers, dict) or not isinstance(embed, dict):
            raise MalformedCall("message_json has headers or embed that are no objects", field="message_json")
        if not isinstance(retries := headers.get("retries") or 0, int) or retries < 0:
            raise MalformedCall("message_json has retries that are no number of tries", field="message_json")
        for name in ("eta", "expires"):
            _check_time(name, headers.get(name))
        headers = {
            "task": task,
            "root_id": own_id,
            "retries": 0,
            **headers,
            "id": headers.get("id") or own_id,
        }
        kwargs = _of_json("kwargs_json", call.kwargs_json, dict)
        args = _of_json("args_json", call.args_json, list)
        made = cls(task, args, kwargs, headers, embed, str(about.get("queue") or ""))
        priority = about.get("priority")
        return replace(made, priority=priority) if isinstance(priority, int) else made


def to_json(value: Any, what: str) -> str:
    """A value as JSON, as Celery's own serializer writes it.

    Raises:
        EncodeError: it is none of JSON.
    """
    try:
        text: str = dumps(value)
    except Exception as error:  # Objects may raise anything where they are looked at.
        raise EncodeError(
            f"{what} cannot be written as JSON ({type(error).__name__}: {error}): pass numbers, texts, lists and dicts;"
            " for other objects, pass their id and load them in the task"
        ) from error
    return text


def of_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none.
    """
    try:
        return loads(text)
    except Exception as error:  # A wrong `__type__` may raise anything.
        raise ValueError(f"{type(error).__name__}: {error}") from None


def read_state(value: bytes) -> tuple[str, Any] | None:
    """A state of a task's own, and its value, of the record that `TaskRunner` has made. None: it is none, or is coded, and this program has no key."""
    try:
        state, text = json.loads(value)
        return str(state), of_json(text)
    except (RecursionError, TypeError, ValueError):
        return None


def _of_json(name: str, text: str, kind: type) -> Any:
    if not text:
        return kind()
    try:
        value = of_json(text)
    except ValueError as error:
        raise MalformedCall(f"{name} is no JSON: {error}", field=name) from None
    if not isinstance(value, kind):
        wanted = "array" if kind is list else "object"
        raise MalformedCall(f"{name} must be a JSON {wanted}, not a {type(value).__name__}", field=name)
    return value


def _check_time(name: str, moment: Any) -> None:
    try:
        _left_s(moment, datetime.now(UTC))
    except (AttributeError, OverflowError, TypeError, ValueError):
        raise MalformedCall(
            f"message_json has {name} {moment!r}, which is no time", field="message_json"
        ) from None


def _left_s(moment: Any, now: datetime) -> float | None:
    """Seconds until a time of Celery's headers; None: there is none."""
    if not moment:
        return None
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
