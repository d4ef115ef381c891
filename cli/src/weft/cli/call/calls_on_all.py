"""`weft call --all`: one call on each agent that hosts the method; each outcome printed as it comes."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from weft.cli.command_line import inputs
from weft.cli.rendering.documents import error_document
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import Styled, json_text, line, remark

if TYPE_CHECKING:
    from weft.cli.terminal.payload_view import PayloadView
    from weft.client import AgentOutcome, Mesh, SubmitOptions
    from weft.rpc.contracts.contract_reader import ResolvedMethod


async def print_outcomes(
    mesh: Mesh,
    method: ResolvedMethod,
    text: str,
    options: SubmitOptions,
    timeout_s: float,
    view: PayloadView,
    *,
    as_json: bool,
) -> bool:
    """Call a unary method on each agent. Returns False if a call failed, or no agent hosts the method.

    Args:
        text: the request as JSON.
    """
    if method.response_streaming:
        raise Failure(
            f"{method.name} answers with a stream: --all is for methods with one response", status=2
        )
    payload = inputs.request_bytes(method, text)
    count = failed = 0
    calls = mesh.fleet.call_all(method.name, payload, timeout_s=timeout_s, **options)
    async with aclosing(calls) as outcomes:
        async for outcome in outcomes:
            count += 1
            failed += outcome.error is not None
            _print(outcome, view, as_json=as_json)
    if not count:
        remark(f"no connected agent hosts {method.name}")
    elif not as_json:
        remark(f"{count - failed} of {count} agents succeeded")
    return count > 0 and not failed


def _print(outcome: AgentOutcome[bytes], view: PayloadView, *, as_json: bool) -> None:
    document: dict[str, Any] = {
        "agent_id": outcome.agent_id,
        "task_id": "" if outcome.task is None else outcome.task.id,
    }
    if outcome.error is not None:
        text = f"{outcome.error.code.name}: {outcome.error.message}"
        document |= error_document(outcome.error, view)
    else:
        response = view.response(outcome.result())
        text = json_text(response)
        document["response"] = response
    line(json_text(document) if as_json else (Styled(outcome.agent_id, "bold"), f"  {text}"))
