"""Which RPCs of weft's own the audit records, by the contract. So a new one is recorded without anybody thinking of it."""

from __future__ import annotations

from enum import Enum
from typing import Any

from google.protobuf import descriptor_pool

from weft.rpc.identity.caller import OBSERVER
from weft.v1 import access_pb2


class AuditRule(Enum):
    """How the audit records the calls of an RPC."""

    NOT = "not"
    EACH = "each"
    COUNTED = "counted"


def audit_rule(method: str) -> AuditRule:
    """How the calls of an RPC are recorded, unless they are denied: each, if they change something, and counted if they are many.

    Args:
        method: "package.Service/Method".
    """
    service, _, name = method.rpartition("/")
    if not service.startswith("weft."):
        return AuditRule.NOT
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return AuditRule.NOT
    # The stubs of protobuf know no extensions.
    options: Any = found.GetOptions()
    access: access_pb2.Access = options.Extensions[access_pb2.access]
    if access.frequent:
        return AuditRule.COUNTED
    return AuditRule.EACH if access.audited or OBSERVER not in access.roles else AuditRule.NOT
