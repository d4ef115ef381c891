"""A task as text for people: state, attempts, limits, error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText, json_text, plain
from weft.cli.terminal.tables import Verbatim

if TYPE_CHECKING:
    from weft.client import Task
    from weft.client.task_snapshot import Attempt
    from weft.v1 import options_pb2, task_pb2

STYLES = {"SUCCEEDED": "green", "FAILED": "red", "CANCELLED": "yellow", "RUNNING": "cyan"}


def styled_state(task: Task) -> Styled:
    name = f"{task.state.name} (cancelling)" if task.cancel_requested and not task.ended else task.state.name
    return Styled(name, STYLES.get(task.state.name, ""))


def error_text(task: Task) -> str:
    """The last failure of a task: code and message, the caller's reason of a cancellation, or the handler's exception. Empty if
    there is none."""
    from weft.rpc.errors import from_status
    from weft.rpc.raised import summary
    from weft.v1 import errors_pb2

    if not task.status.code:
        return ""
    error = from_status(task.status)
    if task.raised is not None and error.reason == errors_pb2.ERROR_REASON_HANDLER_FAILED:
        return summary(task.raised)
    why = error.metadata.get("reason", "") if error.reason == errors_pb2.ERROR_REASON_CANCELLED else ""
    return f"{error.code.name}: {error.message}" + (f" ({why})" if why not in error.message else "")


def facts(
    task: Task, document: dict[str, Any], *, verbose: bool = False, steps: str = ""
) -> list[tuple[str, StyledText | Verbatim]]:
    """Names and values that describe a task. Attempts are listed only if they tell more than the last attempt's fields.

    Args:
        steps: its recorded steps, a line each.
    """
    options = task.proto.options
    found: list[tuple[str, StyledText | Verbatim]] = [
        ("task", task.id),
        ("method", task.method),
        ("fallback of", task.fallback_of),
        ("state", styled_state(task)),
        ("attempt", f"{task.attempt}" + (f" on {task.agent_id}" if task.agent_id else "")),
        ("why there", task.attempts[-1].choice if task.attempts else ""),
        ("avoids", _avoids(task)),
        ("waits for", task.waits_for),
        ("attempts", Verbatim(attempts) if (attempts := _attempts(task)) else ""),
        ("crashes", str(task.crashes) if task.crashes else ""),
        ("priority", str(task.priority)),
        ("retries", _retries(task)),
        ("limits", _limits(task)),
        ("locks", ", ".join(map(_lock, options.locks))),
        ("uses", ", ".join(f"{name} {amount:g}" for name, amount in sorted(options.consumes.items()))),
        ("budget", ", ".join(f"{unit} {amount:g}" for unit, amount in sorted(options.budget.items()))),
        ("fairness key", options.fairness_key),
        ("session", _session(options)),
        ("request id", task.request_id),
        ("submitted", _ago(task.created_at)),
        ("started", _ago(task.started_at)),
        ("finished", _ago(task.finished_at)),
        ("took", moments.between(task.started_at, task.finished_at)),
        ("steps", Verbatim(steps) if steps else ""),
        ("responses", str(task.progress_count) if task.progress_count else ""),
        ("error", error_text(task)),
        ("stack", Verbatim(task.raised.stack) if verbose and task.raised is not None else ""),
        ("request", Verbatim(json_text(document["request"], indent=2))),
    ]
    if "response" in document:
        found.append(("response", Verbatim(json_text(document["response"], indent=2))))
    return [(name, value) for name, value in found if value]


def _avoids(task: Task) -> str:
    waits = task.state.name in {"SCHEDULED", "QUEUED"}
    return f"{task.avoid_agent_id}, where its last attempt ended" if waits and task.avoid_agent_id else ""


def _session(options: task_pb2.TaskOptions) -> str:
    from weft.cli.rendering.documents import session_document

    session = session_document(options)
    if session is None:
        return ""
    place = f", on {session['agent_id']}" if session["agent_id"] else ", which has no agent yet"
    return f"{session['key']} ({session['mode']}){place}"


def _ago(moment: Any) -> str:
    if moment is None:
        return ""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S} ({moments.since(moment)} ago)"


def _attempts(task: Task) -> str:
    """A line for each attempt. Empty if there was one plain attempt, which has a line of its own."""
    attempts = task.attempts
    if len(attempts) < 2 and not any(attempt.crashed or attempt.released for attempt in attempts):
        return ""
    rows = [
        (str(attempt.number), attempt.agent_id, *_times(attempt), plain(attempt_outcome(attempt)))
        for attempt in attempts
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )


def _times(attempt: Attempt) -> tuple[str, str]:
    if attempt.ended_at is None:
        return f"{moments.since(attempt.started_at)} ago", ""
    return f"{moments.since(attempt.ended_at)} ago", moments.between(attempt.started_at, attempt.ended_at)


def attempt_outcome(attempt: Attempt) -> str:
    """How an attempt ended, in words."""
    from weft.rpc.errors import status_code
    from weft.rpc.raised import summary

    if attempt.ended_at is None:
        return "running"
    if attempt.released:
        return "released unstarted"
    if attempt.suspended:
        return f"waited for {attempt.status.message}"
    if attempt.raised is not None:
        words = summary(attempt.raised)
    elif attempt.status.code:
        words = f"{status_code(attempt.status.code).name}: {attempt.status.message}"
    else:
        words = "OK"
    return f"crashed, {words}" if attempt.crashed else words


def _retries(task: Task) -> str:
    from weft.rpc.errors import status_code

    policy = task.proto.options.retry
    if not policy.max_attempts:
        return ""
    codes = ", ".join(status_code(code).name for code in policy.retryable_codes)
    failed = f", {task.failures} failed" if task.failures else ""
    attempts = "1 attempt" if policy.max_attempts == 1 else f"{policy.max_attempts} attempts"
    return f"at most {attempts}{failed}, retried on {codes}; at most {policy.max_crashes} crashes"


def _limits(task: Task) -> str:
    from weft.rpc.times import seconds

    limits = task.proto.options.limits
    parts = [
        f"{words} {moments.span(seconds(getattr(limits, name)))}"
        for name, words in (
            ("schedule_to_start", "starts within"),
            ("start_to_close", "an attempt takes at most"),
            ("schedule_to_close", "ends within"),
        )
        if limits.HasField(name)
    ]
    if task.deadline is not None:
        parts.append(f"{moments.until(task.deadline)} left")
    return ", ".join(parts)


def _lock(lock: options_pb2.Lock) -> str:
    kind = " (shared)" if lock.shared else " (keeps a state)" if lock.state else ""
    return f"{lock.name}{kind}"
