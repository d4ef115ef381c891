"""`weft call`: one durable call, as a stock client makes it, with JSON in and out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli import inputs
from weft.cli.options import DEFAULT_TARGET, Json, Target, pairs
from weft.cli.output import json_text, line, remark

if TYPE_CHECKING:
    import grpc.aio

    from weft.client import Mesh
    from weft.client.contract import ResolvedMethod

DEFAULT_TIMEOUT_S = 60.0


def call(
    method: inputs.MethodName,
    request: inputs.JsonInput = "",
    target: Target = DEFAULT_TARGET,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0.001, help="Deadline of the call.")
    ] = DEFAULT_TIMEOUT_S,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait: print the task's id.")] = False,
    priority: inputs.Priority = None,
    delay_s: inputs.DelayS = None,
    request_id: inputs.RequestId = None,
    require: inputs.Require = None,
    metadata: inputs.Metadata = None,
    as_json: Json = False,
) -> None:
    """Call a method durably and print its answer as JSON; a streaming method's answers one a line.

    The task's id, attempt and agent go to stderr. A failing call prints code, message and details; exit status 1.
    """
    from weft.cli.running import run
    from weft.client import call_options

    text = inputs.read_text(request)
    entries = call_options(
        request_id=request_id,
        priority=priority,
        delay_s=delay_s,
        require=",".join(require or ()),
        detach=detach,
        metadata=list(pairs(metadata or [], "--metadata").items()),
    )

    async def work(mesh: Mesh) -> bool:
        resolved = await inputs.resolve(mesh, method)
        payload = inputs.request_bytes(resolved, text)
        return await _Call(mesh, resolved, as_json=as_json, detach=detach).make(payload, entries, timeout_s)

    if not run(target, work):
        raise typer.Exit(1)


class _Call:
    """One call and what is printed of it."""

    def __init__(self, mesh: Mesh, method: ResolvedMethod, *, as_json: bool, detach: bool) -> None:
        self._mesh = mesh
        self._method = method
        self._as_json = as_json
        self._detach = detach

    async def make(self, payload: bytes, entries: Any, timeout_s: float) -> bool:
        """Make it and print; false: it failed."""
        import grpc.aio

        from weft.v1 import fleet_pb2

        streaming = self._method.kind == fleet_pb2.METHOD_KIND_SERVER_STREAMING
        channel, path = self._mesh.channel(), f"/{self._method.name}"
        began_at = time.monotonic()
        shape: Any = channel.unary_stream(path) if streaming else channel.unary_unary(path)
        made = shape(payload, metadata=entries, timeout=timeout_s)
        try:
            if streaming:
                count = await self._print_stream(made)
                answer: dict[str, Any] = {"responses": count}
            else:
                answer = {"response": self._method.response_to_json(await made)} if not self._detach else {}
        except grpc.aio.AioRpcError as error:
            self._print_failure(error, timeout_s)
            return False
        finally:
            made.cancel()
        about = _about(await made.trailing_metadata())
        if self._as_json:
            line(json_text(about | answer))
            return True
        if self._detach:
            line(about["task_id"])
            return True
        if not streaming:
            line(json_text(answer["response"], indent=2))
        remark(f"{_sentence(about)}, {time.monotonic() - began_at:.3f} s")
        return True

    async def _print_stream(self, made: Any) -> int:
        count = 0
        async for payload in made:
            if not self._detach:
                response = self._method.response_to_json(payload)
                line(json_text({"response": response} if self._as_json else response))
                count += 1
        return count

    def _print_failure(self, error: grpc.aio.AioRpcError, timeout_s: float) -> None:
        import grpc

        from weft.cli.documents import status_document
        from weft.cli.failures import detail_lines
        from weft.rpc.errors import status_code, status_of_call

        status = status_of_call(error)
        if status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0] and not status.details:
            status.message = f"the call has not ended within its deadline of {timeout_s:g} s"
        about = _about(error.trailing_metadata())
        if self._as_json:
            line(json_text(about | {"error": status_document(status)}))
            return
        remark(f"{status_code(status.code).name}: {status.message}")
        for text in detail_lines(status):
            remark(text)
        if about["task_id"]:
            remark(_sentence(about))


def _about(trailers: Any) -> dict[str, Any]:
    """What the trailers tell of the task."""
    found = {key: value for key, value in trailers or () if isinstance(value, str)}
    return {
        "task_id": found.get("weft-task-id", ""),
        "attempt": int(found.get("weft-attempt") or 0),
        "agent_id": found.get("weft-agent", ""),
    }


def _sentence(about: dict[str, Any]) -> str:
    place = f" on {about['agent_id']}" if about["agent_id"] else ""
    return f"task {about['task_id']}, attempt {about['attempt']}{place}"
