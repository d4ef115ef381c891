"""Methods of the mesh as tools: their contracts are read by reflection, their schemas are the planner's, if it is hosted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc.aio

from weft.client import call_options
from weft.rpc.contracts import json_form
from weft.rpc.contracts.contract_reader import ContractReader, ResolvedMethod
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import WeftError
from weft.services.models.v1 import models_pb2
from weft.services.planner.v1 import planner_pb2, planner_pb2_grpc

if TYPE_CHECKING:
    from weft.client import Mesh

_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_SCHEMA_S = 10.0
# Of a request; the message's form is then told by the error of a call that does not fit.
_ANY_OBJECT = '{"type": "object"}'


class MethodTools:
    """The methods that the settings name, as far as the mesh hosts them now."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._methods: dict[str, ResolvedMethod] = {}
        self._secrets = SecretFields()
        self.tools: list[models_pb2.Tool] = []
        self.notes: list[str] = []

    async def find(self, methods: Sequence[str]) -> None:
        """Read the contracts of methods. What is not there is noted."""
        for name in methods:
            try:
                found = await ContractReader(self._mesh.channel()).resolve(name)
            except WeftError as error:
                self.notes.append(f"The tool {name} is not there: {error.message}"[:500])
                continue
            if not found.durable or found.response_streaming:
                self.notes.append(f"The tool {name} is left out: it takes or gives a stream")
                continue
            description, schema = await self._described(name)
            called = _NOT_OF_NAMES.sub("_", name)[-64:]
            self._methods[called] = found
            self.tools.append(models_pb2.Tool(name=called, description=description, parameters_json=schema))

    def method_of(self, tool: str) -> str | None:
        """The method that a tool is. None: it is none of the mesh's."""
        found = self._methods.get(tool)
        return None if found is None else found.name

    async def call(self, tool: str, arguments_json: str, timeout_s: float) -> str:
        """Run a method's task. Returns its response as JSON; secret fields are left out.

        Raises:
            WeftError: the arguments do not fit, or the task has failed.
        """
        method = self._methods[tool]
        payload = json_form.parse(arguments_json, method.request_class, method.pool)
        response = await self._mesh.tasks.call(method.name, payload, timeout_s=timeout_s, no_wait=True)
        value = json_form.render(response, method.response_class, method.pool, self._secrets)
        return json.dumps(value, indent=1, ensure_ascii=False)

    async def _described(self, name: str) -> tuple[str, str]:
        """What a method does, and the JSON Schema of its request."""
        planner = planner_pb2_grpc.PlannerServiceStub(self._mesh.channel())
        try:
            listed = await planner.ListTools(
                planner_pb2.ListToolsRequest(match=name),
                timeout=_SCHEMA_S,
                metadata=call_options(no_wait=True),
            )
        except grpc.aio.AioRpcError:
            return f"Calls {name}.", _ANY_OBJECT
        for each in listed.tools:
            if each.method == name:
                return each.description or f"Calls {name}.", each.request_schema_json
        return f"Calls {name}.", _ANY_OBJECT
