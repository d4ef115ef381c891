"""What an adopted app sends by: Celery's `app.amqp`, with a mesh behind it instead of a broker.

delay, apply_async, chain … ─► Celery.send_task ─► MeshAmqp.send_task_message ─► AppMesh.submit
└ of the running task itself (retry, replace): TaskRun.go_on_as
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Self

from celery import signals
from celery.app.amqp import AMQP
from kombu.exceptions import EncodeError

from weft.compat.celery.app_mesh import mesh_of_app
from weft.compat.celery.call_messages import TaskMessage
from weft.compat.celery.running_task import running


class MeshAmqp(AMQP):  # type: ignore[misc]
    """Celery's `AMQP`: makes messages as it does, and submits them to the app's mesh."""

    @property
    def producer_pool(self) -> Any:
        """No connection to a broker is made."""
        return _NO_BROKER

    @property
    def create_task_message(self) -> Callable[..., Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Messages of protocol 2, also if the app says 1: nobody else reads them."""
        return self.as_task_v2  # type: ignore[no-any-return]

    def send_task_message(  # pyright: ignore[reportIncompatibleVariableOverride] - a cached property with such a function
        self,
        _producer: Any,
        name: str,
        message: Any,
        *,
        exchange: Any = None,
        routing_key: str | None = None,
        queue: Any = None,
        serializer: str | None = None,
        headers: dict[str, Any] | None = None,
        priority: int | None = None,
        **properties: Any,
    ) -> None:
        """Submit a call.

        Raises:
            EncodeError: its serializer is not JSON, or an argument is none of JSON.
            ValueError: it names no queue, or a priority that is none.
            WeftError: a coordinator refuses it.
        """
        if (serializer or self.app.conf.task_serializer) != "json":
            raise EncodeError(
                f"{name} is sent with the serializer {serializer or self.app.conf.task_serializer!r}, and weft carries JSON:"
                " set task_serializer='json', and pass values of JSON"
            )
        # Stamped headers and the like are Celery's own; receivers of the signal may change both.
        own, sent, body, _ = message
        own.update(headers or {})
        to = self._queue_name(name, queue, exchange, routing_key)
        told = {"sender": name, "body": body, "exchange": "", "routing_key": to, "headers": own}
        signals.before_task_publish.send(**told, declare=[], properties=sent | properties, retry_policy={})
        if priority is None:
            priority = self.app.conf.task_default_priority
        args, kwargs, embed = body
        made = TaskMessage(
            name, args, kwargs, own, {key: value for key, value in embed.items() if value}, to, priority
        )
        here = running()
        if here is not None and here.id == made.id:
            here.go_on_as(made)
        else:
            mesh_of_app(self.app).submit(made)
        signals.after_task_publish.send(**told)

    def _queue_name(self, task: str, queue: Any, exchange: Any, routing_key: str | None) -> str:
        """The name of the queue that a message goes to. As in Celery, an exchange that is named with a key comes first."""
        wanted = getattr(exchange, "name", exchange)
        if not wanted or not routing_key:
            return str(getattr(queue, "name", queue or self.app.conf.task_default_queue))
        for each in self.queues.values():
            if each.exchange.name == wanted and each.routing_key == routing_key:
                return str(each.name)
        raise ValueError(
            f"{task} is sent to the exchange {wanted!r} with the routing key {routing_key!r}, to which no queue of task_queues"
            " is bound: weft has no exchanges; name the queue (queue=…, task_routes)"
        )


class _NoBroker:
    """What Celery asks of a pool of connections before it sends."""

    def acquire(self, *_: Any, **__: Any) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was taken."""

    @contextlib.contextmanager
    def _reraise_as_library_errors(self, *_: Any, **__: Any) -> Iterator[None]:
        yield

    # `producer_pool.connections.connection.transport.driver_type`, and `producer.connection`.
    @property
    def connections(self) -> _NoBroker:
        return self

    connection = transport = connections
    driver_type = "weft"

    def force_close_all(self) -> None:
        """Called when the app is closed."""


_NO_BROKER = _NoBroker()
