"""The API of webhooks: signed requests of other systems by HTTP, which become tasks or events; and events that are sent to others."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Unpack

from google.protobuf.message import Message

from weft.client.api import Api
from weft.client.event_snapshot import topic_of
from weft.client.methods import AnyMethod, Method, as_method
from weft.client.options import SubmitOptions, task_options
from weft.client.task_snapshot import TaskState
from weft.client.webhook_snapshot import (
    HookKind,
    HookSigning,
    HookSource,
    HookTest,
    NewSecret,
    Webhook,
    number,
)
from weft.rpc import refusals
from weft.rpc.times import duration
from weft.v1 import hook_pb2 as pb

__all__ = ["HookKind", "HookSigning", "HookSource", "HookTest", "NewSecret", "Webhook", "Webhooks"]

_SERVICE = "weft.v1.HookService"
_CREATE = Method.of(f"{_SERVICE}/CreateHook", pb.CreateHookRequest, pb.CreateHookResponse)
_GET = Method.of(f"{_SERVICE}/GetHook", pb.GetHookRequest, pb.GetHookResponse)
_LIST = Method.of(f"{_SERVICE}/ListHooks", pb.ListHooksRequest, pb.ListHooksResponse)
_UPDATE = Method.of(f"{_SERVICE}/UpdateHook", pb.UpdateHookRequest, pb.UpdateHookResponse)
_ROTATE = Method.of(f"{_SERVICE}/RotateHookSecret", pb.RotateHookSecretRequest, pb.RotateHookSecretResponse)
_DELETE = Method.of(f"{_SERVICE}/DeleteHook", pb.DeleteHookRequest, pb.DeleteHookResponse)
_TEST = Method.of(f"{_SERVICE}/TestHook", pb.TestHookRequest, pb.TestHookResponse)
_PAGE = 500


class Webhooks:
    """Webhooks; `Mesh.hooks` gives it. Operators change them, and observers read them. Every method raises `WeftError`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def add(
        self,
        name: str,
        kind: HookKind,
        *,
        method: AnyMethod[Any, Any] | str | None = None,
        event: type[Message] | str | None = None,
        key: str = "",
        template: str | Mapping[str, Any] = "",
        filter: str = "",  # noqa: A002  # as events have it
        secret: str = "",
        signing: HookSigning | None = None,
        tolerance_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> NewSecret:
        """Let each signed request of another system become a task, or an event.

            made = await mesh.hooks.add("deploys", "github", method=Deploy, template={"ref": "${body.ref}"})
            print(made.hook.path, made.secret)

        Args:
            name: 1 to 128 letters, digits, '.', '_', '-' and '/'.
            kind: how requests are signed: "github", "gitlab", "stripe", "standard" (Standard Webhooks) or "generic".
            method: a hosted method; or `event`: a message type, or its full name. One of both.
            key: the event's key, a text with placeholders.
            template: the message as JSON, with placeholders such as "${body.ref}", "${headers.x-github-event}" or "${delivery}". Empty: the
                message is the body, without fields that it does not have.
            filter: only requests for which this expression of CEL is true, of `body`, `headers` and `query`.
            secret: as the other system has it. Empty: one is generated; Stripe makes its own.
            signing: of the kind "generic".
            tolerance_s: how far a signed time may be from now. Unset: 300 s.
            options: of each task, see `SubmitOptions`.

        Raises:
            AlreadyExists: there is a hook of this name.
            InvalidArgument: the message names the field, or says why the filter cannot be used.
            NotFound: no contract has the method, or the message type.
        """
        spec = _spec(
            kind,
            method=method,
            event=event,
            key=key,
            template=template,
            filter=filter,
            signing=signing,
            tolerance_s=tolerance_s,
            options=options,
        )
        asked = pb.CreateHookRequest(name=name, spec=spec, secret=secret)
        # Not repeated: a repeat would find the hook, and not tell its secret.
        made = await self._api.call(_CREATE, asked, repeatable=False)
        return NewSecret(Webhook.of(made.hook), made.secret)

    async def update(
        self,
        name: str,
        kind: HookKind,
        *,
        method: AnyMethod[Any, Any] | str | None = None,
        event: type[Message] | str | None = None,
        key: str = "",
        template: str | Mapping[str, Any] = "",
        filter: str = "",  # noqa: A002  # as events have it
        signing: HookSigning | None = None,
        tolerance_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Webhook:
        """Change what a hook does; its secrets stay. Whoever calls is its maker from now on.

        Args:
            kind: as it is: another one needs another hook.

        Other arguments are those of `add`.

        Raises:
            NotFound: no hook has this name; and as `add`.
            InvalidArgument: as `add`.
        """
        spec = _spec(
            kind,
            method=method,
            event=event,
            key=key,
            template=template,
            filter=filter,
            signing=signing,
            tolerance_s=tolerance_s,
            options=options,
        )
        return await self._update(pb.UpdateHookRequest(name=name, spec=spec))

    async def send(
        self,
        name: str,
        url: str,
        *,
        on: HookSource = "event",
        methods: Sequence[str] = (),
        states: Sequence[TaskState] = (),
        groups: Sequence[str] = (),
        event: type[Message] | str | None = None,
        filter: str = "",  # noqa: A002  # as events have it
        secret: str = "",
        **options: Unpack[SubmitOptions],
    ) -> NewSecret:
        """Send ends of tasks or groups, or events of a topic, to a URL, signed by the rules of Standard Webhooks. Each is a durable task, which is tried
        again with growing pauses.

        Args:
            name: 1 to 128 letters, digits, '.', '_', '-' and '/'.
            url: whose host coordinators allow (setting `hook_hosts`).
            on: what is sent.
            methods: of "task-ended": of these methods alone; patterns, in which '*' stands for any characters.
            states: of "task-ended": with these states alone.
            groups: of "group-ended": of groups with these names alone; patterns.
            event: of "event": the message type, or its full name.
            filter: of "event": only those for which this expression of CEL is true.
            secret: "whsec_" and base64 of 16 to 64 bytes. Empty: one is generated.
            options: of each delivery, see `SubmitOptions`.

        Raises:
            AlreadyExists: there is a hook of this name.
            FailedPrecondition: coordinators do not allow the host.
            InvalidArgument: the message names the field.
        """
        spec = _sending(
            url,
            on=on,
            methods=methods,
            states=states,
            groups=groups,
            event=event,
            filter=filter,
            options=options,
        )
        asked = pb.CreateHookRequest(name=name, spec=spec, secret=secret)
        made = await self._api.call(_CREATE, asked, repeatable=False)
        return NewSecret(Webhook.of(made.hook), made.secret)

    async def update_sending(
        self,
        name: str,
        url: str,
        *,
        on: HookSource = "event",
        methods: Sequence[str] = (),
        states: Sequence[TaskState] = (),
        groups: Sequence[str] = (),
        event: type[Message] | str | None = None,
        filter: str = "",  # noqa: A002  # as events have it
        **options: Unpack[SubmitOptions],
    ) -> Webhook:
        """Change what a hook sends, and where to; its secrets stay. Whoever calls is its maker from now on. Deliveries that wait go to the new URL. If
        it sends something else than before, it begins with the next event.

        Arguments are those of `send`.

        Raises:
            NotFound: no hook has this name.
            FailedPrecondition, InvalidArgument: as `send`; also for a hook that takes requests.
        """
        spec = _sending(
            url,
            on=on,
            methods=methods,
            states=states,
            groups=groups,
            event=event,
            filter=filter,
            options=options,
        )
        return await self._update(pb.UpdateHookRequest(name=name, spec=spec))

    async def get(self, name: str) -> Webhook:
        """The hook as it is now.

        Raises:
            NotFound: no hook has this name.
        """
        return Webhook.of((await self._api.call(_GET, pb.GetHookRequest(name=name))).hook)

    async def list(self) -> AsyncGenerator[Webhook]:
        """All hooks by name, without templates and options; page by page as they are taken."""
        asked = pb.ListHooksRequest(page_size=_PAGE)
        while True:
            page = await self._api.call(_LIST, asked)
            for each in page.hooks:
                yield Webhook.of(each)
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return

    async def pause(self, name: str, reason: str = "") -> Webhook:
        """No tasks and events until `resume`: requests are answered with 503, so that their senders try again."""
        return await self._update(pb.UpdateHookRequest(name=name, paused=True, pause_reason=reason))

    async def resume(self, name: str) -> Webhook:
        """Take requests again."""
        return await self._update(pb.UpdateHookRequest(name=name, paused=False))

    async def rotate(self, name: str, *, secret: str = "", overlap_s: float | None = None) -> NewSecret:
        """Give a hook another secret.

        Args:
            secret: as for `add`.
            overlap_s: the earlier ones are right for so long from now on. Unset: a day. 0: no longer.

        Raises:
            NotFound: no hook has this name.
        """
        asked = pb.RotateHookSecretRequest(name=name, secret=secret)
        if overlap_s is not None:
            asked.overlap.CopyFrom(duration(overlap_s))
        made = await self._api.call(_ROTATE, asked, repeatable=False)
        return NewSecret(Webhook.of(made.hook), made.secret)

    async def remove(self, name: str) -> None:
        """Remove a hook. Its tasks and events stay.

        Raises:
            NotFound: no hook has this name.
        """
        # Not repeated: a repeat would not find what the first call has removed.
        await self._api.call(_DELETE, pb.DeleteHookRequest(name=name), repeatable=False)

    async def test(
        self,
        name: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> HookTest:
        """What a request would become. Nothing is submitted, and no signature is needed. By an outgoing hook: sends a try, by a task.

        Raises:
            InvalidArgument: it does not fit the hook's target.
        """
        found = await self._api.call(
            _TEST, pb.TestHookRequest(name=name, body=body, headers=headers, query=query)
        )
        return HookTest(found.matched, found.target, found.payload, found.key, found.task_id)

    async def _update(self, asked: pb.UpdateHookRequest) -> Webhook:
        return Webhook.of((await self._api.call(_UPDATE, asked)).hook)


def _sending(
    url: str,
    *,
    on: HookSource,
    methods: Sequence[str],
    states: Sequence[TaskState],
    groups: Sequence[str],
    event: type[Message] | str | None,
    filter: str,  # noqa: A002  # as events have it
    options: SubmitOptions,
) -> pb.HookSpec:
    outgoing = pb.OutgoingHook(url=url, options=task_options(options, inherits=False))
    match on:
        case "task-ended":
            numbers: Any = [each.value for each in states]
            outgoing.task_ends.CopyFrom(pb.HookTaskEnds(methods=methods, states=numbers))
        case "group-ended":
            outgoing.group_ends.CopyFrom(pb.HookGroupEnds(names=groups))
        case _:
            topic = "" if event is None else topic_of(event)
            outgoing.events.CopyFrom(pb.HookEvents(topic=topic, filter=filter))
    return pb.HookSpec(outgoing=outgoing)


def _spec(
    kind: HookKind,
    *,
    method: AnyMethod[Any, Any] | str | None,
    event: type[Message] | str | None,
    key: str,
    template: str | Mapping[str, Any],
    filter: str,  # noqa: A002  # as events have it
    signing: HookSigning | None,
    tolerance_s: float | None,
    options: SubmitOptions,
) -> pb.HookSpec:
    """
    Raises:
        InvalidArgument: there is not one target, or no such kind.
    """
    incoming = pb.IncomingHook(
        kind=number(pb.HookKind, "HOOK_KIND_", "kind", kind),
        template=template if isinstance(template, str) else json.dumps(template),
        filter=filter,
        signing=None if signing is None else signing.proto(),
        tolerance=None if tolerance_s is None else duration(tolerance_s),
    )
    if (method is None) == (event is None):
        raise refusals.invalid_field("a hook has a method or an event, one of both", field="method")
    if method is not None:
        incoming.task.CopyFrom(
            pb.HookTask(method=as_method(method).name, options=task_options(options, inherits=False))
        )
    elif event is not None:
        incoming.event.CopyFrom(pb.HookEvent(topic=topic_of(event), key=key))
    return pb.HookSpec(incoming=incoming)
