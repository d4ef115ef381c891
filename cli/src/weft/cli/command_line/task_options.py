"""Options of tasks, which commands that make tasks share: as parameters of a command, as `SubmitOptions`, and as metadata of a call."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from weft.cli.command_line import inputs
from weft.cli.command_line.option_group import with_option_group
from weft.cli.command_line.session_options import (
    SessionKey,
    SessionModeName,
    SessionTtlS,
    sticky_session,
)

if TYPE_CHECKING:
    from weft.client import StickySession
    from weft.client.options import SubmitOptions

# Options that direct calls have, too.
_OF_ALL = frozenset({"metadata", "session", "session_mode", "session_ttl_s"})


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """A field for each option; its name is the option's name."""

    priority: inputs.Priority = None
    delay_s: inputs.DelayS = None
    require: inputs.Require = None
    agent: inputs.Agent = None
    no_wait: inputs.NoWait = False
    no_cache: inputs.NoCache = False
    fairness_key: inputs.FairnessKey = None
    session: SessionKey = None
    session_mode: SessionModeName = None
    session_ttl_s: SessionTtlS = None
    group: inputs.GroupName = None
    lock: inputs.Locks = None
    shared_lock: inputs.SharedLocks = None
    state_lock: inputs.StateLock = None
    consume: inputs.Consumes = None
    budget: inputs.Budget = None
    metadata: inputs.Metadata = None

    def given(self) -> list[str]:
        """The options that are given, such as "--delay-s", without --metadata and --session, which every call may have."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _OF_ALL}
        return [
            f"--{name.replace('_', '-')}"
            for name, value in values.items()
            if value is not None and value is not False and value != []
        ]

    def sticky(self) -> StickySession | None:
        """The sticky session; None: none.

        Raises:
            typer.BadParameter: it is out of its bounds, or has no key.
        """
        return sticky_session(self.session, self.session_mode, self.session_ttl_s)

    def submit_options(self, limit_s: float | None = None) -> SubmitOptions:
        """The options as those of `submit`.

        Args:
            limit_s: the value of --limit-s.
        """
        options: SubmitOptions = {}
        if self.priority is not None:
            options["priority"] = self.priority
        if self.delay_s is not None:
            options["delay_s"] = self.delay_s
        if limit_s is not None:
            options["schedule_to_close_s"] = limit_s
        if self.require:
            options["require_labels"], options["require_resources"] = inputs.requirements(self.require)
        if self.no_wait:
            options["no_wait"] = True
        if self.no_cache:
            options["cache"] = False
        if self.fairness_key is not None:
            options["fairness_key"] = self.fairness_key
        if (session := self.sticky()) is not None:
            options["session"] = session
        if self.group is not None:
            options["group"] = self.group
        if self.lock or self.shared_lock or self.state_lock is not None:
            options["locks"] = inputs.locks(self.lock, self.shared_lock, self.state_lock)
        if self.consume:
            options["consumes"] = inputs.amounts(self.consume, "--consume")
        if self.budget:
            options["budget"] = inputs.amounts(self.budget, "--budget")
        if self.agent:
            options["agent_id"] = self.agent
        if self.metadata:
            options["metadata"] = inputs.metadata_entries(self.metadata)
        return options

    def call_metadata(self, *, request_id: str | None, detach: bool) -> tuple[tuple[str, str | bytes], ...]:
        """The options as metadata of a plain call.

        Raises:
            typer.BadParameter: gRPC cannot send one of them.
        """
        from weft.client import call_options

        entries = call_options(
            request_id=request_id,
            priority=self.priority,
            delay_s=self.delay_s,
            require=",".join(self.require or ()),
            agent=self.agent,
            detach=detach,
            no_wait=self.no_wait or None,
            cache=not self.no_cache,
            fairness_key=self.fairness_key,
            group=self.group,
            session=self.sticky(),
            locks=inputs.locks(self.lock, self.shared_lock, self.state_lock),
            consumes=inputs.amounts(self.consume, "--consume"),
            budget=inputs.amounts(self.budget, "--budget"),
            metadata=inputs.metadata_entries(self.metadata or [], own_keys=True),
        )
        inputs.check_sendable(entries)
        return entries


NO_TASK_OPTIONS = TaskOptions()
# Decorates a command that has a parameter `tasks: TaskOptions`.
with_task_options = with_option_group(TaskOptions, "tasks")
