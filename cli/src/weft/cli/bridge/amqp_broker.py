"""The broker's side of the AMQP bridge: one connection with one queue, from which messages are taken and to which replies go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aio_pika
import aio_pika.exceptions as faults
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from yarl import URL

if TYPE_CHECKING:
    from weft.cli.bridge.amqp_messages import AmqpReply

CONNECT_S = 10.0
CLOSE_S = 5.0
PUBLISH_S = 30.0
# The most bytes of a header that says what is wrong.
_MOST_TEXT_BYTES = 1024

Take = Callable[[AbstractIncomingMessage], Awaitable[None]]


class BrokerAway(Exception):
    """The broker cannot be reached, or the connection has ended; it may come back."""


class BrokerRefuses(Exception):
    """The broker does not let the bridge in, or lacks what it needs: somebody must change something."""


class Unroutable(Exception):
    """No queue takes the message."""


class Broker:
    """An open connection. Made by `connected`.

    Args:
        name: that of the broker, or of its cluster: the same for all its nodes.
        lost: set when the connection has ended by itself.
    """

    def __init__(
        self, name: str, channel: AbstractChannel, queue: AbstractQueue, lost: asyncio.Event
    ) -> None:
        self.name, self._channel, self._queue, self.lost = name, channel, queue, lost
        self._tag = ""

    async def consume(self, take: Take) -> None:
        """Give each message to `take`, as they come."""
        self._tag = await self._queue.consume(take)

    async def cancel(self) -> None:
        """Get no more messages. Those that were given can be acknowledged still."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._queue.cancel(self._tag)
        except (faults.AMQPError, OSError, TimeoutError, RuntimeError):
            # The connection has ended: there are none anyway.
            return

    async def has_exchange(self, name: str) -> None:
        """Check that there is an exchange.

        Raises:
            BrokerRefuses: there is none.
        """
        try:
            await self._channel.get_exchange(name, ensure=True)
        except faults.ChannelClosed as error:
            raise BrokerRefuses(f"the exchange {name} cannot be used: {error}") from None

    async def declare(self, name: str) -> None:
        """Make a durable queue, unless there is one of this name.

        Raises:
            BrokerRefuses: it cannot be made.
        """
        try:
            await self._channel.declare_queue(name, durable=True)
        except faults.ChannelClosed as error:
            raise BrokerRefuses(
                f"the queue {name} cannot be made: {error}. Make it as a durable one, or choose another by --dead-letter"
            ) from None

    async def reply(
        self, reply: AmqpReply, exchange: str, routing_key: str, correlation_id: str | None
    ) -> None:
        """Publish; when this returns, the broker has it.

        Raises:
            Unroutable: no queue takes it.
            BrokerAway
        """
        message = aio_pika.Message(
            reply.body,
            content_type=reply.content_type,
            correlation_id=correlation_id,
            message_id=reply.message_id,
            type=reply.kind,
            headers=dict(reply.headers),
            app_id="weft",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._publish(message, exchange, routing_key)

    async def bury(self, message: AbstractIncomingMessage, queue: str, reason: str, why: str) -> None:
        """Publish a copy of a message, with the reason in its headers, to the queue of dead letters.

        Raises:
            Unroutable: the queue is gone.
            BrokerAway
        """
        text = why.encode()[:_MOST_TEXT_BYTES].decode(errors="ignore")
        copy = aio_pika.Message(
            message.body,
            headers={**(message.headers or {}), "weft-reason": reason, "weft-message": text}
            | {"weft-exchange": message.exchange or "", "weft-routing-key": message.routing_key or ""},
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            correlation_id=message.correlation_id,
            reply_to=message.reply_to,
            message_id=message.message_id,
            timestamp=message.timestamp,
            type=message.type,
            priority=message.priority,
            # Without its expiration: it is kept until somebody looks at it.
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._publish(copy, "", queue)

    async def _publish(self, message: aio_pika.Message, exchange: str, routing_key: str) -> None:
        try:
            to = await self._channel.get_exchange(exchange, ensure=False) if exchange else None
            await (to or self._channel.default_exchange).publish(
                message, routing_key, mandatory=True, timeout=PUBLISH_S
            )
        except faults.DeliveryError as error:
            raise Unroutable(str(error)) from None
        except (faults.AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise BrokerAway(str(error) or type(error).__name__) from None


@asynccontextmanager
async def connected(url: str, queue: str, window: int) -> AsyncIterator[Broker]:
    """A connection with a queue.

    Args:
        url: "amqp://user:password@host:5672/vhost".
        window: the most messages that are given and not acknowledged.

    Raises:
        BrokerAway, BrokerRefuses
    """
    place, lost = where(url), asyncio.Event()
    try:
        connection = await aio_pika.connect(
            url, timeout=CONNECT_S, client_properties={"connection_name": f"weft bridge of {queue}"}
        )
    except faults.ProbableAuthenticationError as error:
        raise BrokerRefuses(f"the broker at {place} refuses this user: {error}") from None
    except (faults.AMQPConnectionError, OSError, TimeoutError) as error:
        raise BrokerAway(
            f"the broker at {place} cannot be reached: {error or type(error).__name__}"
        ) from None
    except (faults.AMQPError, ValueError) as error:
        raise BrokerRefuses(f"the broker at {place} cannot be used: {error}") from None
    connection.close_callbacks.add(lambda *_: lost.set())
    try:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lambda *_: lost.set())
        await channel.set_qos(prefetch_count=window)
        yield Broker(_name(connection, place), channel, await channel.get_queue(queue, ensure=True), lost)
    except faults.ChannelNotFoundEntity:
        raise BrokerRefuses(f"there is no queue {queue!r} at {place}: make it first") from None
    except faults.ChannelClosed as error:
        raise BrokerRefuses(f"the queue {queue!r} at {place} cannot be used: {error}") from None
    except (faults.AMQPError, RuntimeError) as error:
        raise BrokerAway(f"the connection to {place} has ended: {error or type(error).__name__}") from None
    finally:
        # What is not acknowledged goes back to the queue.
        try:
            async with asyncio.timeout(CLOSE_S):
                await connection.close()
        except (faults.AMQPError, OSError, TimeoutError, RuntimeError):
            pass


def where(url: str) -> str:
    """The broker's address and virtual host, without user and password.

    Raises:
        ValueError: it is no URL of AMQP.
    """
    read = URL(url)
    if read.scheme not in ("amqp", "amqps") or not read.host:
        raise ValueError("it must be amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://…")
    port = read.explicit_port or (5671 if read.scheme == "amqps" else 5672)
    return f"{read.host}:{port}/{read.path.lstrip('/')}"


def _name(connection: aio_pika.abc.AbstractConnection, place: str) -> str:
    """The cluster's name with the virtual host: a message has the same request id at whichever node it comes."""
    properties = getattr(getattr(connection.transport, "connection", None), "server_properties", None) or {}
    name = properties.get("cluster_name")
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
    host, _, virtual = place.partition("/")
    return f"{text or host}/{virtual}"
