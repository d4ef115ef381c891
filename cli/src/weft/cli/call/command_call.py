"""One call of any method, unary or streaming, with the method's descriptor from reflection; and its output."""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft.cli.call.request_stream import RequestStream
from weft.cli.command_line import inputs
from weft.cli.terminal.output import block, json_text, line, remark
from weft.rpc.calls.metadata import AGENT_KEY, CACHED_TRAILER, FALLBACK_KEY
from weft.rpc.errors import InvalidArgument

if TYPE_CHECKING:
    import grpc.aio

    from weft.cli.terminal.payload_view import PayloadView
    from weft.client import Mesh
    from weft.rpc.contracts.contract_reader import ResolvedMethod


@dataclass(frozen=True, slots=True)
class Mode:
    """The kind of a call."""

    direct: bool
    # None: the default policy.
    policy: str | None
    detach: bool

    def channel(self, mesh: Mesh) -> grpc.aio.Channel:
        if not self.direct:
            return mesh.channel()
        return mesh.channel(direct=True, policy=self.policy) if self.policy else mesh.channel(direct=True)


class CommandCall:
    """One call and its output."""

    def __init__(
        self, mesh: Mesh, method: ResolvedMethod, mode: Mode, view: PayloadView, *, as_json: bool
    ) -> None:
        self._method = method
        self._view = view
        self._mode = mode
        self._as_json = as_json
        self._channel = mode.channel(mesh)
        # Why a response was not printed as JSON.
        self._not_shown: list[str] = []

    async def make(self, given: str, entries: Any, timeout_s: float) -> bool:
        """Make the call and print its responses. Returns False if it failed.

        Args:
            given: the request's JSON; for a direct call the argument, which can name a file or standard input.
            entries: metadata.
            timeout_s: the call's deadline.
        """
        import grpc.aio

        requests = self._requests(given)
        began_at = time.monotonic()
        made = self._begun(requests)(metadata=entries, timeout=timeout_s)
        try:
            if self._method.response_streaming:
                answer: dict[str, Any] = {"responses": await self._print_stream(made)}
            else:
                response = await made
                answer = {} if self._mode.detach else {"response": self._shown(response)}
        except grpc.aio.AioRpcError as error:
            self._print_failure(error, timeout_s)
            return False
        except asyncio.CancelledError:
            # A bad request in a stream of requests cancels the call.
            if isinstance(requests, RequestStream) and requests.failure is not None:
                raise requests.failure from None
            raise
        finally:
            made.cancel()
        self._print_end(_about(await made.trailing_metadata()), answer, time.monotonic() - began_at)
        for why in self._not_shown:
            remark(why)
        return not self._not_shown

    def _requests(self, given: str) -> RequestStream | bytes:
        if self._method.request_streaming:
            return RequestStream(self._method, given)
        return inputs.request_bytes(self._method, inputs.read_text(given) if self._mode.direct else given)

    def _begun(self, requests: RequestStream | bytes) -> Any:
        ends = (self._method.request_streaming, self._method.response_streaming)
        shape = "_".join("stream" if streaming else "unary" for streaming in ends)
        callee = getattr(self._channel, shape)(f"/{self._method.name}")
        return functools.partial(
            callee, requests.serialized() if isinstance(requests, RequestStream) else requests
        )

    async def _print_stream(self, made: Any) -> int:
        count = 0
        async for payload in made:
            if not self._mode.detach:
                response = self._shown(payload)
                line(json_text({"response": response} if self._as_json else response))
                count += 1
        return count

    def _shown(self, payload: bytes) -> Any:
        """A response as JSON; its size or base64 if the contract does not describe it."""
        try:
            return self._view.readable_response(payload)
        except InvalidArgument as error:
            # One message for a whole stream: its responses are alike.
            self._not_shown[:] = [error.message]
            return self._view.unread(payload)

    def _print_end(self, about: dict[str, Any], answer: dict[str, Any], took_s: float) -> None:
        if self._as_json:
            line(json_text(about | answer))
            return
        if self._mode.detach:
            line(about["task_id"])
            return
        if "response" in answer:
            block(json_text(answer["response"], indent=2))
        remark(f"{_sentence(about)}, {took_s:.3f} s")

    def _print_failure(self, error: grpc.aio.AioRpcError, timeout_s: float) -> None:
        import grpc

        from weft.cli.terminal.failures import detail_lines, direct_advice, raised_advice
        from weft.rpc.errors import status_code, status_of_call

        status = status_of_call(error)
        if status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0] and not status.details:
            status.message = f"the call did not end within its deadline of {timeout_s:g} s"
        about = _about(error.trailing_metadata())
        if self._as_json:
            line(json_text(about | {"error": self._view.status(status)}))
            return
        remark(f"{status_code(status.code).name}: {status.message}")
        for text in detail_lines(status, self._view):
            remark(text)
        if self._mode.direct:
            for text in direct_advice(status, self._method.name):
                remark(text)
        if about["task_id"] or about["agent_id"]:
            remark(_sentence(about))
        for text in raised_advice(status, about["task_id"]):
            remark(text)


def _about(trailers: Any) -> dict[str, Any]:
    """Task, attempt and agent of a call, from its trailers. A direct call has no task."""
    found = {key: value for key, value in trailers or () if isinstance(value, str)}
    attempt = found.get("weft-attempt", "")
    return {
        "task_id": found.get("weft-task-id", ""),
        "attempt": int(attempt) if attempt.isdecimal() else 0,
        "agent_id": found.get(AGENT_KEY, ""),
        **({"cached": True} if CACHED_TRAILER in found.items() else {}),
        **({"fallback": found[FALLBACK_KEY]} if FALLBACK_KEY in found else {}),
    }


def _sentence(about: dict[str, Any]) -> str:
    place = f" on {about['agent_id']}" if about["agent_id"] else ""
    instead = f", by its fallback {about['fallback']}" if "fallback" in about else ""
    return (
        f"task {about['task_id']}, attempt {about['attempt']}{place}{instead}{', cached' if about.get('cached') else ''}"
        if about["task_id"]
        else f"direct{place}"
    )
