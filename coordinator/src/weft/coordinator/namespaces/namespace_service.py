"""The servicer of `weft.v1.NamespaceService`: checks requests, and reads and changes namespaces in the store's table."""

from __future__ import annotations

from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.namespaces.namespace_table import Stored
from weft.coordinator.namespaces.namespaces import Namespaces
from weft.rpc import refusals
from weft.rpc.identity.edge import Edge
from weft.rpc.process.logs import get_logger
from weft.rpc.security.namespace_names import DEFAULT, checked_name
from weft.rpc.times import timestamp
from weft.v1 import namespace_pb2, namespace_pb2_grpc

log = get_logger(__name__)

MAX_COMMENT_CHARS = 256

Context = aio.ServicerContext[Any, Any]


class NamespaceService(namespace_pb2_grpc.NamespaceServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, namespaces: Namespaces, edge: Edge) -> None:
        self._namespaces = namespaces
        self._table = namespaces.table
        self._edge = edge

    @guard.unary
    async def CreateNamespace(
        self, request: namespace_pb2.CreateNamespaceRequest, context: Context
    ) -> namespace_pb2.CreateNamespaceResponse:
        name = checked_name(request.name, "name")
        if name == DEFAULT:
            raise refusals.namespace_exists(name)
        if len(request.comment) > MAX_COMMENT_CHARS:
            raise refusals.invalid_field(
                f"comment is at most {MAX_COMMENT_CHARS} characters", field="comment"
            )
        stored = await self._table.create(name, request.comment)
        log.info("namespace.created", namespace=name, by=self._edge.caller(context).subject)
        return namespace_pb2.CreateNamespaceResponse(namespace=stored.namespace)

    @guard.unary
    async def ListNamespaces(
        self, request: namespace_pb2.ListNamespacesRequest, context: Context
    ) -> namespace_pb2.ListNamespacesResponse:
        stored = await self._table.all()
        found = {name: each.namespace for name, each in stored.items()}
        found[DEFAULT] = namespace_pb2.Namespace(name=DEFAULT)
        scope = self._edge.caller(context).scope
        return namespace_pb2.ListNamespacesResponse(
            namespaces=[found[name] for name in sorted(found) if scope.has_namespace(name)]
        )

    @guard.unary
    async def DeleteNamespace(
        self, request: namespace_pb2.DeleteNamespaceRequest, context: Context
    ) -> namespace_pb2.DeleteNamespaceResponse:
        if request.name == DEFAULT:
            raise refusals.invalid_field("the namespace default cannot be deleted", field="name")
        stored = await self._table.read(request.name)
        if stored is None:
            raise refusals.namespace_not_found(request.name)
        if not stored.namespace.HasField("delete_time") and not request.force:
            await self._check_unused(request.name)
        now = self._table.now()

        def delete(stored: Stored) -> bool:
            if stored.namespace.HasField("delete_time"):
                return False
            stored.namespace.delete_time.CopyFrom(timestamp(now))
            return True

        stored = await self._table.change(request.name, delete)
        log.info("namespace.deleted", namespace=request.name, by=self._edge.caller(context).subject)
        return namespace_pb2.DeleteNamespaceResponse(namespace=stored.namespace)

    async def _check_unused(self, name: str) -> None:
        """
        Raises:
            FailedPrecondition: NAMESPACE_IN_USE.
        """
        agents, tasks = await (await self._namespaces.opened(name)).mesh.in_use()
        if agents or tasks:
            raise refusals.namespace_in_use(name, agents, tasks)
