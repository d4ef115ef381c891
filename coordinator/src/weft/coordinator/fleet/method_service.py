"""The servicer of `weft.v1.MethodService`: methods with their policies, and the operators' overrides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio

from weft.coordinator import guard
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.policy.policy_rows import PolicyRows
from weft.coordinator.policy.run_limit_sync import RunLimitSync
from weft.coordinator.store.rules import QueueKey
from weft.rpc import refusals
from weft.v1 import method_pb2, method_pb2_grpc, options_pb2

_FIELDS: Any = options_pb2.TaskPolicy.DESCRIPTOR
# Fields in one mask.
MAX_PATHS = 100

Context = aio.ServicerContext[Any, Any]


class MethodService(method_pb2_grpc.MethodServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(
        self, contracts: Contracts, register: AgentRegister, overrides: PolicyRows, run_limits: RunLimitSync
    ) -> None:
        self._contracts = contracts
        self._register = register
        self._overrides = overrides
        self._run_limits = run_limits

    @guard.unary
    async def ListMethods(
        self, request: method_pb2.ListMethodsRequest, context: Context
    ) -> method_pb2.ListMethodsResponse:
        overrides = self._contracts.policies.overrides
        prefix = f"{request.service}/" if request.service else ""
        return method_pb2.ListMethodsResponse(
            methods=[
                self._method(info)
                for info in self._contracts.methods()
                if info.name.startswith(prefix) and (info.name in overrides or not request.overridden)
            ]
        )

    @guard.unary
    async def GetMethod(
        self, request: method_pb2.GetMethodRequest, context: Context
    ) -> method_pb2.GetMethodResponse:
        return method_pb2.GetMethodResponse(method=self._method(self._contracts.method(request.name)))

    @guard.unary
    async def UpdateMethod(
        self, request: method_pb2.UpdateMethodRequest, context: Context
    ) -> method_pb2.UpdateMethodResponse:
        info = self._contracts.method(request.name)
        mask = _checked(request.update_mask)

        def edit(override: options_pb2.TaskPolicy) -> None:
            if mask.paths:
                for path in mask.paths:
                    _put(override, request.policy, path.split("."))
            else:
                override.CopyFrom(request.policy)
            self._contracts.policies.check_override(info.name, override)

        await self._overrides.change(info.name, edit)
        await self._run_limits.settle()
        return method_pb2.UpdateMethodResponse(method=self._method(info))

    def _method(self, info: MethodInfo) -> method_pb2.Method:
        policies = self._contracts.policies
        in_force = policies.find(info.name)
        method = method_pb2.Method(
            name=info.name,
            kind=info.kind,  # type: ignore[arg-type]
            request_type=info.descriptor.input_type.full_name,
            response_type=info.descriptor.output_type.full_name,
            contract_hash=info.contract,
            agents=self._register.serving(QueueKey(info.name)),
            policy=None if in_force is None else in_force.options,
            contract_policy=None if info.policy is None else info.policy.options,
            override=policies.overrides.get(info.name),
            override_problem=policies.problems.get(info.name, ""),
        )
        return method


def _checked(mask: FieldMask) -> FieldMask:
    """A mask with known fields alone.

    Raises:
        InvalidArgument: a path names no field of a policy; `field` is `update_mask`.
    """
    if len(mask.paths) > MAX_PATHS:
        raise refusals.invalid_field(
            f"update_mask has {len(mask.paths)} paths; at most {MAX_PATHS}", field="update_mask"
        )
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(_FIELDS):
            known = ", ".join(field.name for field in _FIELDS.fields)
            raise refusals.invalid_field(
                f"update_mask: {path[:128]!r} is no field of a task policy; there are {known}",
                field="update_mask",
            )
    return mask


def _put(target: Any, source: Any, path: Sequence[str]) -> None:
    """Give a field the value that it has in `source`; if it has none there, remove it, and with it a message that is empty then.

    `FieldMask.MergeMessage` does not remove a field of a message that the source does not have.
    """
    name, *inner = path
    if inner:
        _put(getattr(target, name), getattr(source, name), inner)
        if not getattr(target, name).ByteSize():
            target.ClearField(name)
        return
    target.ClearField(name)
    given = type(source)()
    given.CopyFrom(source)
    for field, _ in source.ListFields():
        if field.name != name:
            given.ClearField(field.name)
    target.MergeFrom(given)
