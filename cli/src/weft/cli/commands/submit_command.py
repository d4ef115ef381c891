"""`weft submit`: submit one task or many."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, ShowSecrets, Target
from weft.cli.command_line.task_options import NO_TASK_OPTIONS, TaskOptions, with_task_options
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line, remark

if TYPE_CHECKING:
    from weft.cli.call.many_lines import ManyLines
    from weft.cli.terminal.payload_view import PayloadView
    from weft.cli.terminal.progress_line import ProgressState
    from weft.client import Mesh, TaskHandle
    from weft.client.options import SubmitOptions
    from weft.client.tasks import Finished
    from weft.rpc.contracts.contract_reader import ResolvedMethod

Requests: TypeAlias = Iterator[bytes] | AsyncIterator[bytes]

# Most ids that are printed after an interruption.
_MOST_NAMED = 100


@examples(
    'weft submit acme.v1.Greeter/Greet \'{"name": "Ada"}\' --wait',
    "weft submit Greeter/Greet @names.jsonl --lines --wait --json",
    "weft submit Greeter/Greet --many names.jsonl --on-bad-line skip",
    "weft submit Greeter/Greet - --delay-s 3600 --require zone=eu",
)
@with_task_options
def submit(
    method: inputs.MethodName,
    request: inputs.JsonInput = "",
    target: Target = DEFAULT_TARGET,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the tasks end, and print their results.")
    ] = False,
    lines: Annotated[bool, typer.Option("--lines", help="The input is one JSON request a line.")] = False,
    many: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Submit one JSON request a line of this file, or of standard input (-), read as they are needed;"
            " shows the progress.",
        ),
    ] = None,
    on_bad_line: Annotated[
        str | None,
        typer.Option(
            metavar="stop|skip",
            help="With --many, at a line that is no request: stop there (the lines before are submitted), or skip it."
            " [default: stop]",
        ),
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Submit all requests so many times.")] = 1,
    request_id: inputs.RequestId = None,
    tasks: TaskOptions = NO_TASK_OPTIONS,
    limit_s: inputs.LimitS = None,
    show_secrets: ShowSecrets = False,
    as_json: Json = False,
) -> None:
    """Submit tasks and print their ids, one a line; with --wait print their results, in the order in which they end.

    Exit status 1 if a task was refused or, with --wait, did not succeed; with --many also if a line was skipped, and 2 if a bad
    line stopped it.
    """
    from weft.cli.call.wait_notices import wait_notices
    from weft.cli.process.command_runner import run
    from weft.cli.terminal.payload_view import PayloadView

    _check_many(
        many,
        on_bad_line,
        {"JSON": request, "--lines": lines, "--count": count > 1, "--request-id": request_id},
    )
    if request_id is not None and (lines or count > 1):
        raise Failure("--request-id is for a single task: leave out --lines and --count", status=2)
    if request_id is not None:
        inputs.check_sendable([("weft-request-id", request_id)])
    options = tasks.submit_options(limit_s)
    if many is not None:
        from weft.cli.call.many_lines import ManyLines

        source = ManyLines(many, skips=on_bad_line == "skip")
        if not run(
            target,
            lambda mesh: _submit_lines(
                mesh, method, source, options, wait=wait, show_secrets=show_secrets, as_json=as_json
            ),
        ):
            raise typer.Exit(1)
        return
    texts = list(inputs.read_lines(request)) if lines else [(0, inputs.read_text(request))]

    async def work(mesh: Mesh) -> bool:
        resolved = await inputs.resolve(mesh, method)
        # All requests are checked before the first is submitted.
        payloads = [
            inputs.request_bytes(resolved, text, f"line {number}: " if number else "")
            for number, text in texts
        ]
        requests = itertools.chain.from_iterable(itertools.repeat(payloads, count))
        submission = _Submission(
            mesh,
            resolved,
            options,
            request_id,
            PayloadView(resolved, show_secrets=show_secrets),
            as_json=as_json,
        )
        if not wait:
            return await submission.store(requests)
        async with wait_notices(mesh, resolved.name, tasks.require or ()):
            well = await submission.run(requests)
        submission.print_summary(wait=True)
        return well

    if not run(target, work):
        raise typer.Exit(1)


def _check_many(many: str | None, on_bad_line: str | None, others: dict[str, Any]) -> None:
    """Refuse options that do not go together.

    Raises:
        Failure: some do not, or --on-bad-line has a wrong value.
    """
    if many is None and on_bad_line is not None:
        raise Failure("--on-bad-line is for --many", status=2)
    if on_bad_line not in (None, "stop", "skip"):
        raise Failure(f"--on-bad-line is {on_bad_line!r}; it must be stop or skip", status=2)
    given = [name for name, value in others.items() if value]
    if many is not None and given:
        raise Failure(f"--many has its own requests, one a line: leave out {' and '.join(given)}", status=2)


async def _submit_lines(
    mesh: Mesh,
    method: str,
    source: ManyLines,
    options: SubmitOptions,
    *,
    wait: bool,
    show_secrets: bool,
    as_json: bool,
) -> bool:
    """Submit the requests of a file. Returns False if one was skipped, was refused or, if it waits, failed."""
    from weft.cli.terminal.payload_view import PayloadView
    from weft.cli.terminal.progress_line import progress_line

    resolved = await inputs.resolve(mesh, method)
    submission = _Submission(
        mesh, resolved, options, None, PayloadView(resolved, show_secrets=show_secrets), as_json=as_json
    )
    try:
        async with progress_line(lambda: submission.progress(source)):
            well = await (submission.run if wait else submission.store)(source.requests(resolved))
    finally:
        submission.print_summary(wait=wait, skipped=source.skipped)
    return well and not source.skipped


class _Submission:
    """The tasks of one command, and its output."""

    def __init__(
        self,
        mesh: Mesh,
        method: ResolvedMethod,
        options: SubmitOptions,
        request_id: str | None,
        view: PayloadView,
        *,
        as_json: bool,
    ) -> None:
        self._tasks = mesh.tasks
        self._method = method
        self._view = view
        self._options = options
        self._request_id = None if request_id is None else (lambda _: request_id)
        self._as_json = as_json
        self._began_s = time.monotonic()
        self._count = self._failed = 0
        # Ids of stored tasks that have not ended, by index.
        self._open: dict[int, str] = {}

    async def store(self, requests: Requests) -> bool:
        """Submit and print ids. Returns False if a task was refused."""
        handles: AsyncGenerator[TaskHandle[bytes]] = self._tasks.submit_many(
            self._method.name, requests, request_id=self._request_id, **self._options
        )
        async with aclosing(handles):
            async for handle in handles:
                self._count += 1
                if handle.refusal is not None:
                    self._failed += 1
                    self._print_refusal(handle.refusal)
                elif self._as_json:
                    line(
                        json_text({"task_id": handle.id, "existed": handle.existed, "cached": handle.cached})
                    )
                else:
                    line(handle.id)
        return not self._failed

    async def run(self, requests: Requests) -> bool:
        """Submit, wait, and print results. Returns False if a task did not succeed."""
        ends: AsyncGenerator[Finished[bytes]] = self._tasks.run_many(
            self._method.name, requests, request_id=self._request_id, stored=self._stored, **self._options
        )
        try:
            async with aclosing(ends):
                async for end in ends:
                    self._count += 1
                    self._failed += not end.succeeded
                    self._open.pop(end.index, None)
                    self._print_end(end)
        except BaseException:
            # Ctrl-C, or the coordinator is unreachable: the user can watch the tasks later.
            self._print_open()
            raise
        return not self._failed

    def progress(self, many: ManyLines) -> ProgressState:
        """How far the tasks of these lines are."""
        from weft.cli.terminal.progress_line import ProgressState

        words = [f"{self._failed} failed"] if self._failed else []
        words += [f"{len(self._open)} wait or run"] if self._open else []
        words += [f"{many.skipped} skipped"] if many.skipped else []
        return ProgressState(self._count, many.estimate, tuple(words), estimated=not many.at_end)

    def print_summary(self, *, wait: bool, skipped: int = 0) -> None:
        """Print the counts, for people."""
        count, failed = self._count, self._failed
        good, bad = ("succeeded", "failed") if wait else ("stored", "refused")
        parts = [
            f"{count} {'task' if count == 1 else 'tasks'}",
            f"{count - failed} {good}",
            f"{failed} {bad}",
        ]
        parts += [f"{skipped} {'line' if skipped == 1 else 'lines'} skipped"] if skipped else []
        remark(", ".join([*parts, f"{time.monotonic() - self._began_s:.2f} s"]))

    def _stored(self, index: int, task_id: str) -> None:
        self._open[index] = task_id

    def _print_open(self) -> None:
        """Print the tasks that go on after this command has ended."""
        ids = [*self._open.values()]
        for task_id in ids[:_MOST_NAMED]:
            remark(f"{task_id} goes on")
        if len(ids) > _MOST_NAMED:
            remark(f"and {len(ids) - _MOST_NAMED} more")
        if ids:
            remark(f"`weft tasks watch {ids[0]}` watches a task, `weft tasks cancel` cancels tasks")

    def _print_end(self, end: Finished[bytes]) -> None:
        from weft.v1 import fleet_pb2

        error = end.error()
        if end.task is None:
            assert error is not None
            self._print_refusal(error)
            return
        task = end.task
        document: dict[str, Any] = {
            "task_id": task.id,
            "state": task.state.name,
            "attempt": task.attempt,
            "agent_id": task.agent_id,
        }
        if error is not None:
            document["error"] = self._view.status(error.status())
            words = f"{task.state.name} {error.code.name}: {error.message}"
        elif self._method.kind == fleet_pb2.METHOD_KIND_SERVER_STREAMING:
            document["responses"] = task.progress_count
            words = f"{task.state.name} with {task.progress_count} responses"
        else:
            document["response"] = self._view.response(task.response)
            words = json_text(document["response"])
        line(json_text(document) if self._as_json else f"{task.id} {words}")

    def _print_refusal(self, error: Any) -> None:
        from weft.cli.rendering.documents import error_document

        if self._as_json:
            line(json_text({"task_id": "", **error_document(error, self._view)}))
        else:
            remark(f"refused: {error.code.name}: {error.message}")
