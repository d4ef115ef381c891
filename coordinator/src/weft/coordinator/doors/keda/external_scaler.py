"""The servicer of KEDA's `externalscaler.ExternalScaler`. It asks the store, and keeps nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.doors.keda.present_work import (
    NOTHING,
    PresentWork,
    QueueLook,
    is_active,
    present_work,
)
from weft.coordinator.doors.keda.queue_looks import QueueLooks
from weft.coordinator.doors.keda.scaler_metadata import OLDEST_AGE, TASKS, FollowedWork, followed_work
from weft.coordinator.namespaces.namespace import Namespace
from weft.coordinator.namespaces.namespaces import Namespaces
from weft.coordinator.settings import CoordinatorSettings
from weft.keda import externalscaler_pb2 as pb
from weft.keda import externalscaler_pb2_grpc
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.edge import Edge

SERVICE = pb.DESCRIPTOR.services_by_name["ExternalScaler"].full_name


class QueuesOfMeshes:
    """The queues of each namespace. Those of one in which nothing is left to do are not opened for it."""

    def __init__(self, default: Namespace, others: Namespaces) -> None:
        self._default = default
        self._others = others

    async def __call__(self, namespace: str) -> QueueLook:
        """The queues now.

        Raises:
            NotFound: NAMESPACE_NOT_FOUND.
            Unavailable: it cannot be opened.
        """
        if not namespace:
            return QueueLook(*await self._default.queues())
        if namespace not in self._others.present() and not (await self._others.check(namespace)).awake:
            return NOTHING
        return QueueLook(*await (await self._others.opened(namespace)).mesh.queues())


class ExternalScaler(externalscaler_pb2_grpc.ExternalScalerServicer):
    """Answers KEDA. The caller must be allowed to call the methods that it asks about: what it may not see does not count.

    Args:
        look: the queues of a namespace now.
        max_streams: most of `StreamIsActive` at a time.
        stalled_stream_s: a stream that is not read for so long ends.
    """

    def __init__(
        self,
        look: Callable[[str], Awaitable[QueueLook]],
        edge: Edge,
        max_streams: int,
        stalled_stream_s: float,
    ) -> None:
        self._look = look
        self._edge = edge
        self._looks = QueueLooks(look, max_streams)
        self.stalled_stream_s = stalled_stream_s

    def close(self, why: WeftError) -> None:
        """End all streams."""
        self._looks.close(why)

    @guard.unary
    async def IsActive(
        self, request: pb.ScaledObjectRef, context: aio.ServicerContext[Any, Any]
    ) -> pb.IsActiveResponse:
        work, caller = self._asked(request, context)
        present = present_work(work, await self._look(work.namespace), caller.sees)
        return pb.IsActiveResponse(result=is_active(work, present))

    @guard.stream
    async def StreamIsActive(
        self, request: pb.ScaledObjectRef, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.IsActiveResponse]:
        work, caller = self._asked(request, context)
        told: bool | None = None
        async with contextlib.aclosing(self._looks.follow(work.namespace)) as looks:
            async for look in looks:
                active = is_active(work, present_work(work, look, caller.sees))
                if active is not told:
                    told = active
                    yield pb.IsActiveResponse(result=active)

    @guard.unary
    async def GetMetricSpec(
        self, request: pb.ScaledObjectRef, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetMetricSpecResponse:
        work, _ = self._asked(request, context)
        return pb.GetMetricSpecResponse(metricSpecs=_specs(work))

    @guard.unary
    async def StreamMetricSpec(
        self, request: pb.ScaledObjectRef, context: aio.ServicerContext[Any, Any]
    ) -> None:
        # The targets are those of the trigger, and it does not change: KEDA asks for them by the RPC above.
        raise refusals.not_implemented("targets do not change while a trigger stands: GetMetricSpec has them")

    @guard.unary
    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetMetricsResponse:
        work, caller = self._asked(request.scaledObjectRef, context)
        known = [spec.metricName for spec in _specs(work)]
        if request.metricName not in known:
            raise refusals.invalid_field(
                f"metricName is {request.metricName[:128]!r}; GetMetricSpec names {', '.join(known)}",
                field="metricName",
            )
        present = present_work(work, await self._look(work.namespace), caller.sees)
        value = _value(request.metricName, present)
        return pb.GetMetricsResponse(
            metricValues=[
                pb.MetricValue(
                    metricName=request.metricName, metricValue=round(value), metricValueFloat=value
                )
            ]
        )

    def _asked(
        self, request: pb.ScaledObjectRef, context: aio.ServicerContext[Any, Any]
    ) -> tuple[FollowedWork, Caller]:
        """What is asked, and by whom.

        Raises:
            InvalidArgument: INVALID_FIELD.
            PermissionDenied: OUT_OF_SCOPE, POLICY_DENIED.
        """
        work = followed_work(request.scalerMetadata)
        caller = self._edge.caller(context)
        # The namespace is the trigger's, since KEDA sends no metadata of weft's.
        if work.namespace or not caller.namespace:
            caller = caller._replace(namespace=work.namespace)
        with self._edge.counting(context, f"{SERVICE}/IsActive"):
            caller.check_namespace()
            for method in work.methods:
                if not method.endswith("/*"):
                    caller.check_method(method)
        return work, caller


def _specs(work: FollowedWork) -> list[pb.MetricSpec]:
    found = [_spec(TASKS, work.tasks_per_replica)]
    if work.age_s_per_replica is not None:
        found.append(_spec(OLDEST_AGE, work.age_s_per_replica))
    return found


def _spec(name: str, target: float) -> pb.MetricSpec:
    # KEDA before 2.10 reads whole numbers alone.
    return pb.MetricSpec(metricName=name, targetSize=max(1, round(target)), targetSizeFloat=target)


def _value(name: str, present: PresentWork) -> float:
    return float(present.tasks) if name == TASKS else present.oldest_age_s


def served(
    default: Namespace, others: Namespaces, edge: Edge, settings: CoordinatorSettings, server: Any
) -> ExternalScaler:
    """The servicer, added to a server for generated code."""
    look = QueuesOfMeshes(default, others)
    made = ExternalScaler(look, edge, settings.max_watchers, settings.stalled_stream_s)
    externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(made, server)
    return made
