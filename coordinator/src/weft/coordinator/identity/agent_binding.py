"""Binds an agent to its token: id, hosted methods and labels of a Hello must be in the token's scope."""

from __future__ import annotations

from weft.coordinator.identity.token_table import TokenTable
from weft.rpc import refusals
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.scope import ENVIRONMENT_LABELS
from weft.v1 import session_pb2


async def admit_agent(table: TokenTable, caller: Caller, hello: session_pb2.Hello) -> None:
    """Let an agent in, and note its use of a join token.

    Raises:
        PermissionDenied: OUT_OF_SCOPE, TOKEN_USED_UP.
        Unavailable: the store cannot be read or written.
    """
    check_scope(caller, hello)
    if caller.token_id:
        await table.use(caller.token_id, hello.agent_id)


def check_scope(caller: Caller, hello: session_pb2.Hello) -> None:
    """Refuse a Hello that is out of the scope of the agent's token; labels of its environment that the token does not grant are left out.

    Raises:
        PermissionDenied: OUT_OF_SCOPE.
    """
    hosted = [method.name for method in hello.methods]
    if (beyond := caller.scope.beyond(hello.agent_id, hosted, hello.labels)) is not None:
        raise refusals.out_of_scope(*beyond)
    # Requirements are matched against labels: one that nobody has granted must not draw tasks.
    for key in ENVIRONMENT_LABELS & hello.labels.keys():
        if not caller.scope.grants(key, hello.labels[key]):
            del hello.labels[key]
