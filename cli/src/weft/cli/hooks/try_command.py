"""`weft hooks test`: what a request would become, or whether a receiver takes what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target, key_values
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line

if TYPE_CHECKING:
    from weft.client import HookTest, Mesh

# For the answer of a receiver.
_TRY_S = 60.0


@examples(
    "weft hooks test deploys @push.json --header 'X-GitHub-Event=push'",
    'weft hooks test deploys \'{"ref": "refs/heads/main"}\'',
)
def try_request(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The hook's name.", autocompletion=completion.hooks)
    ],
    body: Annotated[
        str,
        typer.Argument(
            metavar="[BODY|@FILE|-]",
            help="The request's body, a file with it, or - for standard input. None: of an outgoing hook.",
        ),
    ] = "",
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=VALUE", help="A header of the request; repeatable."),
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show what a request would become, or send a try.

    Of an incoming hook, nothing is submitted, and no signature is needed. An outgoing hook sends a try, and the command waits for its answer.
    Exit status 1 if the hook's filter does not match, the request does not fit, or the try is not taken.
    """
    from weft.cli.process.command_runner import run

    sent = inputs.read_text(body).encode()
    given = dict(key_values(headers or [], "--header"))

    async def work(mesh: Mesh) -> tuple[HookTest, Any]:
        hook = await mesh.hooks.get(name)
        found = await mesh.hooks.test(name, sent, headers=given)
        if found.task_id:
            from weft.client import Method
            from weft.v1 import hook_pb2

            deliver = Method.of("weft.hooks.v1.HookDelivery/Deliver", hook_pb2.HookCall, hook_pb2.HookReceipt)
            status = await mesh.tasks.handle(deliver, found.task_id).result(timeout_s=_TRY_S)
            return found, {"status": status.status}
        if not found.matched:
            return found, None
        if hook.to_event:
            message = await inputs.resolve_message(mesh, found.target)
            return found, message.to_json(found.payload, None)
        resolved = await inputs.resolve(mesh, found.target)
        return found, resolved.request_to_json(found.payload)

    found, message = run(target, work)
    if as_json:
        line(
            json_text(
                {
                    "matched": found.matched,
                    "target": found.target,
                    "key": found.key,
                    "message": message,
                    "task_id": found.task_id,
                }
            )
        )
    elif found.task_id:
        line(f"taken: {message['status']}")
    elif found.matched:
        line(f"{found.target} {json_text(message)}" + (f" key {found.key}" if found.key else ""))
    if not found.matched:
        raise Failure("the hook's filter does not match: the request becomes nothing", status=1)
