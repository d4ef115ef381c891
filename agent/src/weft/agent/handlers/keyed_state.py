"""The state that the lock of the running task keeps: `current_task().state`.

It comes with the assignment, and what the handler has changed goes with the result, so that the coordinator stores both together. `save` stores it
earlier.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from weft.rpc import refusals
from weft.rpc.times import MAX_DURATION_S, duration
from weft.v1 import keyed_state_pb2, session_pb2

if TYPE_CHECKING:
    from weft.agent.handlers.mesh_clients import MeshClients

M = TypeVar("M", bound=Message)

JSON = "json"
# The shortest time that a state can be kept.
LEAST_TTL_S = 1.0


class _Value(NamedTuple):
    """A value; `value` None: there is none."""

    value: bytes | None
    type: str = ""
    ttl_s: float | None = None


class StateUser(Protocol):
    """What has a state: the context of a handler."""

    agent_id: str
    # Bytes that a state may have; 0: not known here, the coordinator checks it.
    state_limit_bytes: int
    # Made when the handler first asks for it.
    keyed_state: HeldState | StateLeft | None

    @property
    def assignment(self) -> session_pb2.Assignment: ...


class HeldState:
    """The state that the lock of this task keeps. No other task changes it while this one runs.

    Changes are stored when the handler has returned, in one move with its result: if the attempt fails, is cancelled or is lost, nothing has
    changed. Any thread of the handler may use it.
    """

    def __init__(self, user: StateUser, clients: MeshClients | None) -> None:
        given = user.assignment.state
        self._user, self._clients = user, clients
        self._version = int(given.version)
        self._value = _Value(given.value if given.version else None, given.type)
        self._changed = False

    @property
    def name(self) -> str:
        """The name of the lock, such as "cart:42"."""
        return self._user.assignment.state.name

    @property
    def version(self) -> int:
        """A number that grows with each stored change. 0: there was no state when the attempt began, or it is deleted."""
        return self._version

    @property
    def exists(self) -> bool:
        """Whether there is a state, with what this handler has changed."""
        return self._value.value is not None

    @property
    def value(self) -> bytes | None:
        """Its bytes, with what this handler has changed. None: there is none."""
        return self._value.value

    def json(self, default: Any = None) -> Any:
        """The value that `set` was given as JSON.

        Args:
            default: what to return where there is no state.

        Raises:
            TypeError: the state is something else.
        """
        value, kind, _ = self._value
        if value is None:
            return default
        if kind != JSON:
            raise TypeError(f"the state {self.name!r} is {_named(kind)}, and not JSON")
        return json.loads(value)

    def message(self, kind: type[M]) -> M:
        """The message that `set` was given; an empty one where there is no state.

        Raises:
            TypeError: the state is something else.
            ValueError: it does not parse.
        """
        value, stored, _ = self._value
        if value is None:
            return kind()
        name = kind.DESCRIPTOR.full_name
        if stored != name:
            raise TypeError(f"the state {self.name!r} is {_named(stored)}, and not a {name}")
        try:
            return kind.FromString(value)
        except DecodeError as error:
            raise ValueError(f"the state {self.name!r} does not parse as a {name}: {error}") from None

    def set(self, value: bytes | Message | Any, *, ttl_s: float | None = None) -> None:
        """Change the state. It is stored with the result of the handler, or by `save`.

        Args:
            value: bytes; a message of protobuf; or anything that `json.dumps` takes.
            ttl_s: how long it is kept after this change. None: until it is deleted. At least 1.

        Raises:
            TooLarge: STATE_TOO_LARGE; nothing has changed.
            TypeError: it can be none of these.
            InvalidArgument: the time.
        """
        # A NaN is refused too.
        if ttl_s is not None and not LEAST_TTL_S <= ttl_s <= MAX_DURATION_S:
            raise refusals.invalid_field(
                f"ttl_s is {ttl_s!r}; a state is kept for {LEAST_TTL_S:g} to {MAX_DURATION_S:g} s",
                field="ttl_s",
            )
        raw, kind = serialized(value)
        limit_bytes = self._user.state_limit_bytes
        if limit_bytes and len(raw) > limit_bytes:
            raise refusals.state_too_large(self.name, len(raw), limit_bytes)
        self._value, self._changed = _Value(raw, kind, ttl_s), True

    def delete(self) -> None:
        """Delete the state: with the result of the handler, or by `save`."""
        self._value, self._changed = _Value(None), True

    async def save(self) -> None:
        """Store what has changed now, for `async def` handlers. It stays if the attempt fails, and the next attempt begins with it.

        Raises:
            Aborted: STATE_CONFLICT: this attempt is not the task's current one any more.
            Unavailable: the coordinator or its store cannot be reached; nothing is known to have changed.
            LookupError: no agent runs this handler.
        """
        if (write := self.write()) is not None:
            ref = self._user.assignment
            states = self._own_clients().mesh.keyed_states
            self._saved(await states.save(ref.task_id, ref.attempt, self._user.agent_id, write))

    def save_blocking(self) -> None:
        """As `save`, for plain `def` handlers."""
        if (write := self.write()) is not None:
            ref = self._user.assignment
            states = self._own_clients().sync_mesh.keyed_states
            self._saved(states.save(ref.task_id, ref.attempt, self._user.agent_id, write))

    # -- for the library ----------------------------------------------------------------------------------------

    def write(self) -> keyed_state_pb2.StateWrite | None:
        """What has changed and is not stored; None: nothing."""
        if not self._changed:
            return None
        value, kind, ttl_s = self._value
        write = keyed_state_pb2.StateWrite(base_version=self._version)
        if value is None:
            write.delete = True
        else:
            write.value, write.type = value, kind
            if ttl_s is not None:
                write.ttl.CopyFrom(duration(ttl_s))
        return write

    def _saved(self, version: int) -> None:
        self._version, self._changed = version, False

    def _own_clients(self) -> MeshClients:
        if self._clients is None:
            raise LookupError("a handler saves a state only where an agent runs it")
        return self._clients


class StateLeft:
    """What a handler elsewhere has changed in its state: in another process, or in an app."""

    def __init__(self, write: keyed_state_pb2.StateWrite) -> None:
        self._write = write

    def write(self) -> keyed_state_pb2.StateWrite:
        return self._write


def state_of(user: StateUser, clients: MeshClients | None) -> HeldState:
    """The state of a running handler.

    Raises:
        LookupError: no lock of its task keeps one.
    """
    held = user.keyed_state
    if not isinstance(held, HeldState):
        if not user.assignment.HasField("state"):
            raise LookupError(
                "this call has no state: give its method a lock that keeps one, such as"
                ' locks=[Lock("cart", key="customer_id", state=True)]; direct calls have none'
            )
        held = user.keyed_state = HeldState(user, clients)
    return held


def change_of(user: StateUser) -> keyed_state_pb2.StateWrite | None:
    """What a handler has changed in its state; None: nothing."""
    return None if user.keyed_state is None else user.keyed_state.write()


def serialized(value: Any) -> tuple[bytes, str]:
    """A value as it is stored, and what it is.

    Raises:
        TypeError: it is neither bytes, nor a message, nor JSON.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), ""
    if isinstance(value, Message):
        return value.SerializeToString(), value.DESCRIPTOR.full_name
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode(), JSON
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"a state is bytes, a message or JSON, and {type(value).__name__} is none of these: {error}"
        ) from None


def _named(kind: str) -> str:
    return {"": "bytes", JSON: "JSON"}.get(kind, f"a {kind}")
