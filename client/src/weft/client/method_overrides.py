"""The methods API: reads methods with their task policies, and overrides policies at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from weft.client.api import Api
from weft.client.methods import Method
from weft.rpc import refusals
from weft.rpc.enum_names import enum_name
from weft.rpc.task_policy.method_options import MethodOptions, places, to_policy
from weft.v1 import fleet_pb2, method_pb2, options_pb2

_SERVICE = "weft.v1.MethodService"
_LIST = Method.of(f"{_SERVICE}/ListMethods", method_pb2.ListMethodsRequest, method_pb2.ListMethodsResponse)
_GET = Method.of(f"{_SERVICE}/GetMethod", method_pb2.GetMethodRequest, method_pb2.GetMethodResponse)
_UPDATE = Method.of(
    f"{_SERVICE}/UpdateMethod", method_pb2.UpdateMethodRequest, method_pb2.UpdateMethodResponse
)


@dataclass(frozen=True, slots=True)
class MethodView:
    """A method of a contract in force, at one moment. The policies are `weft.v1.TaskPolicy` messages; empty: nothing is set."""

    name: str
    # Such as "UNARY" or "SERVER_STREAMING".
    kind: str
    request_type: str
    response_type: str
    # Connected agents that host it and take work.
    agents: int
    # In force: the override before the contract, of limits the strictest.
    policy: options_pb2.TaskPolicy
    contract_policy: options_pb2.TaskPolicy
    override: options_pb2.TaskPolicy
    # The reason why the override is ignored. Empty: it is not.
    override_problem: str

    @classmethod
    def of(cls, proto: method_pb2.Method) -> MethodView:
        return cls(
            name=proto.name,
            kind=enum_name(fleet_pb2.MethodKind, proto.kind, "METHOD_KIND_"),
            request_type=proto.request_type,
            response_type=proto.response_type,
            agents=proto.agents,
            policy=proto.policy,
            contract_policy=proto.contract_policy,
            override=proto.override,
            override_problem=proto.override_problem,
        )


class Methods:
    """Methods and their policies; `Mesh.methods` gives it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def list(self, service: str = "", *, overridden: bool = False) -> Sequence[MethodView]:
        """The methods of the contracts in force, by name.

        Args:
            service: only methods of this service, by full name.
            overridden: only methods with an override.
        """
        request = method_pb2.ListMethodsRequest(service=service, overridden=overridden)
        return [MethodView.of(method) for method in (await self._api.call(_LIST, request)).methods]

    async def get(self, name: str) -> MethodView:
        """One method, by full name.

        Raises:
            NotFound: no contract has it.
        """
        return MethodView.of((await self._api.call(_GET, method_pb2.GetMethodRequest(name=name))).method)

    async def override(self, name: str, **options: Unpack[MethodOptions]) -> MethodView:
        """Set options in the override of a method; its other options stay. They come before those of the contract, and time and
        run limits only tighten.

        Args:
            name: full name.
            options: as in `Agent.add_servicer(options=…)`, such as `start_to_close_s=30`.

        Raises:
            InvalidArgument: there is no such option, or the method cannot have it; `field` is the option.
            NotFound: no contract has the method.
        """
        if not options:
            raise refusals.invalid_field("no option is given; `clear` removes an override", field="options")
        if "idempotent" in options:
            raise refusals.invalid_field(
                "idempotent is for contracts alone: it is no override", field="idempotent"
            )
        policy = to_policy(options)
        return await self.update(name, policy, places(options))

    async def update(
        self, name: str, policy: options_pb2.TaskPolicy, fields: Sequence[str] = ()
    ) -> MethodView:
        """Change the override of a method.

        Args:
            name: full name.
            policy: the values.
            fields: the fields to change, such as "priority" or "limits.start_to_close"; those that `policy` does not set are
                removed from the override. Without any, `policy` replaces the whole override.

        Raises:
            InvalidArgument, NotFound: as `override`.
        """
        request = method_pb2.UpdateMethodRequest(
            name=name, policy=policy, update_mask=FieldMask(paths=fields)
        )
        return MethodView.of((await self._api.call(_UPDATE, request)).method)

    async def clear(self, name: str, fields: Sequence[str] = ()) -> MethodView:
        """Remove fields from the override of a method, such as "retry"; without any, the whole override.

        Raises:
            InvalidArgument, NotFound: as `override`.
        """
        return await self.update(name, options_pb2.TaskPolicy(), fields)
