"""The AMQP bridge: messages of a queue become tasks, and the ends of tasks become replies.

    queue ─► read_message ─► task stored ──────────────────────────► ack     nobody waits for a reply
                   │               └► its end ─► reply confirmed ──► ack
                   └► copy with the reason in the queue of dead letters ─► ack

A message is acknowledged when nothing is left to be done for it. Until then the broker keeps it: if this process, the broker or the mesh dies, it comes
again, and joins the task that it has already, by its request id. So nothing is kept here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weft.cli.bridge import amqp_messages as messages
from weft.cli.bridge.amqp_broker import Broker, BrokerAway, BrokerRefuses, Unroutable, connected
from weft.client.api import backoff_s
from weft.rpc.calls import call_context
from weft.rpc.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    TooLarge,
    WeftError,
)
from weft.rpc.process.logs import get_logger

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

    from weft.client import Mesh, TaskHandle
    from weft.client.options import SubmitOptions

log = get_logger(__name__)

# What is under way when the bridge stops gets so long to become a task, or a reply that the broker has.
STOP_S = 10.0
# What the mesh says of a message itself. Everything else may be mended elsewhere, and is waited out.
_OF_THE_MESSAGE = (InvalidArgument, AlreadyExists, TooLarge)
# How often the log says that messages wait.
_TELL_S = 10.0


@dataclass(frozen=True, slots=True)
class Way:
    """What a bridge is to do.

    Args:
        url: the broker's.
        results: the exchange of replies; empty: only messages with `reply_to` get one.
        results_key: the routing key of replies there; empty: that of the message.
        dead_letter: the queue of messages that can never be tasks; empty: they are rejected, and the broker does what the queue's policy says.
        window: the most messages under way.
        options: those of all tasks.
        rules: how messages are read; their place is still the queue alone.
    """

    url: str
    queue: str
    rules: messages.Rules
    results: str = ""
    results_key: str = ""
    dead_letter: str = ""
    window: int = 256
    options: SubmitOptions | None = None


class AmqpBridge:
    """A bridge. `await run(stop)` until it is told to stop."""

    def __init__(self, mesh: Mesh, way: Way) -> None:
        self._mesh, self._way = mesh, way
        self._rules = way.rules
        self._stopping = asyncio.Event()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._told_at_s = 0.0
        self._tasks = self._replies = self._dead_letters = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Bridge until `stop` is set. A broker that goes away is dialled again and again.

        Raises:
            BrokerAway, BrokerRefuses: at the start; later both are waited out.
        """
        begun, failures = False, 0
        while not stop.is_set():
            try:
                async with connected(self._way.url, self._way.queue, self._way.window) as broker:
                    await self._open(broker)
                    log.info("bridge.ready", queue=self._way.queue, broker=broker.name)
                    begun, failures = True, 0
                    await self._until_lost(broker, stop)
            except (BrokerAway, BrokerRefuses) as error:
                if not begun:
                    raise
                log.warning("bridge.broker_away", error=str(error))
            if not stop.is_set():
                failures += 1
                await _pause(failures, stop)
        log.info("bridge.stopped", tasks=self._tasks, replies=self._replies, dead_letters=self._dead_letters)

    async def _open(self, broker: Broker) -> None:
        way = self._way
        self._rules = replace(way.rules, place=f"{broker.name}/{way.queue}")
        if way.dead_letter:
            await broker.declare(way.dead_letter)
        if way.results:
            await broker.has_exchange(way.results)

    async def _until_lost(self, broker: Broker, stop: asyncio.Event) -> None:
        self._stopping = asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            task = asyncio.get_running_loop().create_task(self._message(broker, message))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

        waits = [asyncio.ensure_future(each.wait()) for each in (stop, broker.lost)]
        try:
            await broker.consume(take)
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not broker.lost.is_set():
                await broker.cancel()
                # Who only waits for a task's end goes: its message comes again, and joins the task.
                self._stopping.set()
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=STOP_S)
        finally:
            for each in (*waits, *self._under_way):
                each.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    # -- one message ------------------------------------------------------------------------------------------------

    async def _message(self, broker: Broker, message: AbstractIncomingMessage) -> None:
        """The way of one message. Whatever happens to it, it is acknowledged last, or not at all."""
        try:
            await self._deal_with(broker, message)
        except BrokerAway as error:
            # It comes again by the next connection.
            log.info("bridge.message_left", message_id=message.message_id, error=str(error))
        except Exception as error:
            # A fault of the bridge costs this message alone, which would only fail again.
            log.exception("bridge.message_failed", message_id=message.message_id)
            with contextlib.suppress(BrokerAway):
                await self._bury(broker, message, "INTERNAL", f"the bridge failed: {error!r}")

    async def _deal_with(self, broker: Broker, message: AbstractIncomingMessage) -> None:
        try:
            order = messages.read_message(message, self._rules)
            handle = await self._stored(order)
        except messages.NotATask as error:
            await self._refuse(broker, message, error.reason, error.error())
            return
        except _OF_THE_MESSAGE as error:
            await self._refuse(broker, message, error.reason_name, error)
            return
        if handle is None:
            return
        self._tasks += 1
        if self._answers(message):
            reply_or_none = await self._end(handle, order)
            if reply_or_none is None:
                return
            await self._reply(broker, message, reply_or_none)
        await self._acknowledge(message)

    async def _refuse(
        self, broker: Broker, message: AbstractIncomingMessage, reason: str, error: WeftError
    ) -> None:
        """A message that cannot be a task: whoever waits is told, and it goes to the dead letters."""
        log.warning(
            "bridge.message_refused", message_id=message.message_id, reason=reason, error=error.message
        )
        if self._answers(message):
            await self._reply(broker, message, messages.refusal_reply(error, message, self._rules))
        await self._bury(broker, message, reason, error.message)

    def _answers(self, message: AbstractIncomingMessage) -> bool:
        return bool(message.reply_to or self._way.results)

    async def _stored(self, order: messages.Order) -> TaskHandle[bytes] | None:
        """The task of a message, however long the mesh is away. None: the bridge stops before there is one.

        Raises:
            WeftError: it is refused, and would be again.
        """
        if order.traceparent:
            call_context.enter(_Sender(order.traceparent, order.tracestate))
        options: SubmitOptions = {**(self._way.options or {}), **order.options}
        failures = 0
        while True:
            try:
                return await self._mesh.tasks.submit(
                    order.method.name, order.payload, request_id=order.request_id, **options
                )
            except _OF_THE_MESSAGE:
                raise
            except WeftError as error:
                # Also one that somebody must mend elsewhere: a token that is not valid, or a method that nobody hosts any more.
                failures += 1
                if not await self._wait_out(error, failures):
                    return None

    async def _end(self, handle: TaskHandle[bytes], order: messages.Order) -> messages.AmqpReply | None:
        """The reply when the task has ended. None: the bridge stops before that."""
        failures = 0
        while True:
            ended = asyncio.ensure_future(self._mesh.tasks.ended(handle.id))
            stopping = asyncio.ensure_future(self._stopping.wait())
            try:
                await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    return None
                return messages.response_of(ended.result(), order)
            except NotFound as error:
                # Its result was kept for its time, and is gone.
                headers = {"weft-task-id": handle.id, "weft-method": order.method.name}
                return messages.error_reply(error, order.content_type, handle.id, headers)
            except WeftError as error:
                failures += 1
                if not await self._wait_out(error, failures):
                    return None
            finally:
                ended.cancel()
                stopping.cancel()

    async def _wait_out(self, error: WeftError, failures: int) -> bool:
        """Wait before the next try. False: the bridge stops."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_at_s >= _TELL_S:
            self._told_at_s = now_s
            log.warning(
                "bridge.waiting", error=error.message, code=error.code.name, messages=len(self._under_way)
            )
        await _pause(failures, self._stopping, error.retry_after_s)
        return not self._stopping.is_set()

    async def _reply(
        self, broker: Broker, message: AbstractIncomingMessage, reply: messages.AmqpReply
    ) -> None:
        correlation_id = message.correlation_id or message.message_id
        if message.reply_to:
            try:
                await broker.reply(reply, "", message.reply_to, correlation_id)
            except Unroutable:
                # Who asked has gone, and its queue with it.
                log.info("bridge.reply_dropped", reply_to=message.reply_to, message_id=message.message_id)
        if self._way.results:
            key = self._way.results_key or message.routing_key or ""
            await self._publish_result(broker, reply, key, correlation_id)
        self._replies += 1

    async def _publish_result(
        self, broker: Broker, reply: messages.AmqpReply, key: str, correlation_id: str | None
    ) -> None:
        """Publish to the exchange of replies; one that no queue takes waits until one does.

        Raises:
            BrokerAway: or the bridge stops before that.
        """
        failures = 0
        while True:
            try:
                await broker.reply(reply, self._way.results, key, correlation_id)
                return
            except Unroutable:
                failures += 1
                if failures == 1:
                    log.warning(
                        "bridge.reply_unroutable",
                        exchange=self._way.results,
                        routing_key=key,
                        effect="its message is kept until a queue is bound",
                    )
            await _pause(failures, self._stopping)
            if self._stopping.is_set():
                raise BrokerAway("the bridge stops")

    async def _bury(self, broker: Broker, message: AbstractIncomingMessage, reason: str, why: str) -> None:
        self._dead_letters += 1
        if not self._way.dead_letter:
            await message.reject(requeue=False)
            return
        try:
            await broker.bury(message, self._way.dead_letter, reason, why)
        except Unroutable as error:
            # Somebody has deleted the queue: the next connection makes it again.
            raise BrokerAway(f"there is no queue {self._way.dead_letter} any more: {error}") from None
        await self._acknowledge(message)

    async def _acknowledge(self, message: AbstractIncomingMessage) -> None:
        try:
            await message.ack()
        except Exception as error:
            # Only a lost connection is a reason: it comes again, and joins its task.
            raise BrokerAway(str(error) or type(error).__name__) from None


async def _pause(failures: int, stop: asyncio.Event, least_s: float | None = None) -> None:
    """Wait before the next try after so many failures in a row, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(backoff_s(failures, random.random(), least_s)):  # noqa: S311
            await stop.wait()


class _Sender:
    """The trace of a message's sender, as that of a call that is being handled: its task is in it."""

    def __init__(self, traceparent: str, tracestate: str) -> None:
        self._context = call_context.CallContext("", "", traceparent=traceparent, tracestate=tracestate)

    def child_context(self) -> call_context.CallContext:
        return self._context

    def log_fields(self) -> Mapping[str, str | int]:
        return {}

    def call_steps(self, *, asked: bool = False) -> None:  # noqa: ARG002 - callers name it
        return None
