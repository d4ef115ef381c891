"""The way of a webhook to its namespace, which is opened for a request that is signed, if it is not open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from weft.coordinator.hooks.hook_codec import KIND, tolerance_s
from weft.coordinator.hooks.hook_intake import HookIntake, Taken
from weft.coordinator.hooks.hook_request import HookRequest
from weft.coordinator.hooks.hook_secrets import HookSecrets, secrets_of
from weft.coordinator.hooks.hook_signatures import verified
from weft.coordinator.namespaces import namespace_context
from weft.coordinator.namespaces.namespaces import Namespaces
from weft.rpc import refusals
from weft.rpc.errors import Unavailable
from weft.rpc.security.namespace_names import DEFAULT
from weft.v1 import hook_pb2

# Hooks of closed namespaces that are read at a time: strangers ask for them.
_PEEKS = 4

# Reads a row of a namespace that is not open here: by its name, the row's kind and key.
Peek = Callable[[str, str, str], Awaitable[bytes | None]]


class NamespaceHooks:
    """The hooks of all namespaces.

    Args:
        default: those of the default namespace.
        hook_secrets: takes secrets out of rows.
    """

    def __init__(
        self, default: HookIntake, namespaces: Namespaces, hook_secrets: HookSecrets, peek: Peek
    ) -> None:
        self._default = default
        self._namespaces = namespaces
        self._secrets = hook_secrets
        self._peek = peek
        self._peeking = asyncio.Semaphore(_PEEKS)

    async def take(self, namespace: str, name: str, request: HookRequest) -> Taken:
        """Deal with a request for a hook.

        Raises:
            NotFound: NAMESPACE_NOT_FOUND.
            WeftError: as `HookIntake.take`.
        """
        if namespace in ("", DEFAULT):
            return await self._default.take(name, request)
        if namespace not in self._namespaces.present():
            await self._check_closed(namespace, name, request)
        opened = await self._namespaces.opened(namespace)
        namespace_context.enter(namespace)
        taken = await opened.mesh.hooks.take(name, request)
        # Not for what is refused: strangers do not keep a namespace open.
        opened.used_at_s = time.monotonic()
        return taken

    async def _check_closed(self, namespace: str, name: str, request: HookRequest) -> None:
        """Refuse what a closed namespace would refuse for want of a hook or a signature, without opening it.

        Raises:
            NotFound: NAMESPACE_NOT_FOUND, HOOK_NOT_FOUND.
            Unauthenticated: HOOK_SIGNATURE_INVALID, HOOK_REQUEST_STALE.
            Unavailable: HOOK_UNAVAILABLE.
        """
        await self._namespaces.check(namespace)
        try:
            async with self._peeking:
                value = await self._peek(namespace, KIND, name)
        except Unavailable:
            # Its coordinator was killed, for one. It says itself what is wrong with the request.
            return
        stored = hook_pb2.StoredHook() if value is None else hook_pb2.StoredHook.FromString(value)
        if not stored.hook.spec.HasField("incoming"):
            raise refusals.hook_not_found(name)
        incoming, now = stored.hook.spec.incoming, self._namespaces.table.now()
        verified(request, incoming, await secrets_of(self._secrets, stored, now), now, tolerance_s(incoming))
