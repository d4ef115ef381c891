"""Namespaces: meshes of their own behind the same ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from weft.client.api import Api
from weft.client.methods import Method
from weft.v1 import namespace_pb2 as pb

_SERVICE = "weft.v1.NamespaceService"
_CREATE = Method.of(f"{_SERVICE}/CreateNamespace", pb.CreateNamespaceRequest, pb.CreateNamespaceResponse)
_LIST = Method.of(f"{_SERVICE}/ListNamespaces", pb.ListNamespacesRequest, pb.ListNamespacesResponse)
_DELETE = Method.of(f"{_SERVICE}/DeleteNamespace", pb.DeleteNamespaceRequest, pb.DeleteNamespaceResponse)


@dataclass(frozen=True, slots=True)
class NamespaceInfo:
    """A namespace."""

    name: str
    comment: str = ""
    # None: "default", which was not made.
    created_at: datetime | None = None
    # When its deletion was asked for; None: it is in use.
    deleted_at: datetime | None = None

    @classmethod
    def of(cls, proto: pb.Namespace) -> NamespaceInfo:
        return cls(
            name=proto.name,
            comment=proto.comment,
            created_at=proto.create_time.ToDatetime(tzinfo=UTC) if proto.HasField("create_time") else None,
            deleted_at=proto.delete_time.ToDatetime(tzinfo=UTC) if proto.HasField("delete_time") else None,
        )


class MeshNamespaces:
    """Namespaces; `Mesh.namespaces` gives it. Only operators make and delete them; anybody may list those that they may use."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, name: str, *, comment: str = "") -> NamespaceInfo:
        """Make a namespace: `connect(target, namespace=name)` is in it then.

        Args:
            name: 1 to 63 small letters, digits and '-', a letter or digit at both ends.
            comment: what it is for.

        Raises:
            AlreadyExists: there is one of this name.
            FailedPrecondition: one of this name is being deleted.
            InvalidArgument: the name is none.
        """
        # Not repeated: after a lost answer the second one would say that it is there already.
        request = pb.CreateNamespaceRequest(name=name, comment=comment)
        return NamespaceInfo.of((await self._api.call(_CREATE, request, repeatable=False)).namespace)

    async def list(self) -> Sequence[NamespaceInfo]:
        """Those that the caller may use, by name, with "default"."""
        found = await self._api.call(_LIST, pb.ListNamespacesRequest())
        return [NamespaceInfo.of(each) for each in found.namespaces]

    async def delete(self, name: str, *, force: bool = False) -> NamespaceInfo:
        """Delete a namespace with everything in it; its data is removed some seconds later. Repeating it is harmless until then.

        Args:
            force: also if agents are connected or tasks have not ended.

        Raises:
            NotFound: there is none of this name.
            FailedPrecondition: it is in use.
        """
        request = pb.DeleteNamespaceRequest(name=name, force=force)
        return NamespaceInfo.of((await self._api.call(_DELETE, request)).namespace)
