"""The source of a bulk: reads requests one by one from an iterable, sync or async, and makes items with ids of them."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from weft.client.methods import Method
from weft.client.task_snapshot import Task
from weft.rpc.errors import WeftError

Req = TypeVar("Req")

# Most requests of an asynchronous source that are read ahead.
_FED_ITEMS = 512


class BulkItem:
    """One task of a bulk, on its way."""

    __slots__ = (
        "cached",
        "error",
        "existed",
        "generated",
        "index",
        "payload",
        "request_id",
        "sent_at_s",
        "task",
        "task_id",
    )

    def __init__(self, index: int, request_id: str, payload: bytes, *, generated: bool) -> None:
        # Position in the source, from 0.
        self.index = index
        self.request_id = request_id
        # Whether the id was generated here; and when the item was first sent, by `generated_ids.clock_s`.
        self.generated = generated
        self.sent_at_s = 0.0
        # Dropped once acknowledged.
        self.payload = payload
        self.task_id = ""
        self.existed = self.cached = False
        self.task: Task | None = None
        # The refusal, if it was refused.
        self.error: WeftError | None = None


class BulkSource(Generic[Req]):
    """Gives an item for each request.

    Args:
        method: serializes the requests.
        requests: the iterable with the requests, sync or async.
        request_id: gives each request its id; empty or None: one is generated.
    """

    def __init__(
        self,
        method: Method[Req, Any],
        requests: Iterable[Req] | AsyncIterable[Req],
        request_id: Callable[[Req], str] | None,
    ) -> None:
        self.method = method
        # Whether the source has ended; and the exception of the source, of `request_id` or of the serialization, if one
        # ended it.
        self.exhausted = False
        self.error: Exception | None = None
        self._request_id = request_id
        self._sync: Iterator[Req] | None = None if isinstance(requests, AsyncIterable) else iter(requests)
        self._async = requests if isinstance(requests, AsyncIterable) else None
        self._fed: deque[Req] = deque()
        self._hungry = asyncio.Event()
        self._count = 0
        self._id_prefix = uuid.uuid4().hex

    @property
    def at_end(self) -> bool:
        """Whether `take` gives nothing now or later."""
        return self.exhausted and not self._fed

    @property
    def taken(self) -> int:
        """How many requests were taken."""
        return self._count

    async def feed(self, wake: Callable[[], None]) -> None:
        """Read an asynchronous source until it ends. `wake` is called when `take` has another item."""
        if self._async is None:
            return
        try:
            async for request in self._async:
                if self.exhausted:
                    return
                self._fed.append(request)
                wake()
                while len(self._fed) >= _FED_ITEMS:
                    self._hungry.clear()
                    await self._hungry.wait()
        except Exception as error:
            self.error = error
        finally:
            self.exhausted = True
            wake()

    def take(self) -> BulkItem | None:
        """The next item. None if there is none, or none yet. An exception ends the source."""
        try:
            if self._sync is not None:
                request = next(self._sync)
            elif self._fed:
                request = self._fed.popleft()
                self._hungry.set()
            else:
                return None
            own_id = "" if self._request_id is None else self._request_id(request)
            payload = self.method.serialize(request)
        except StopIteration:
            self.exhausted = True
            return None
        except Exception as error:  # raised to the consumer, after the earlier items
            self.error = error
            self.exhausted = True
            self._fed.clear()
            self._hungry.set()
            return None
        index = self._count
        self._count += 1
        return BulkItem(index, own_id or f"{self._id_prefix}-{index:x}", payload, generated=not own_id)
