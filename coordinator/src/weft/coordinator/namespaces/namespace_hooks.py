"""The way of a webhook to its namespace, which is opened if it is not open."""

from __future__ import annotations

import time

from weft.coordinator.hooks.hook_intake import HookIntake, Taken
from weft.coordinator.hooks.hook_request import HookRequest
from weft.coordinator.namespaces import namespace_context
from weft.coordinator.namespaces.namespaces import Namespaces
from weft.rpc.security.namespace_names import DEFAULT


class NamespaceHooks:
    """The hooks of all namespaces.

    Args:
        default: those of the default namespace.
    """

    def __init__(self, default: HookIntake, namespaces: Namespaces) -> None:
        self._default = default
        self._namespaces = namespaces

    async def take(self, namespace: str, name: str, request: HookRequest) -> Taken:
        """Deal with a request for a hook.

        Raises:
            NotFound: NAMESPACE_NOT_FOUND.
            WeftError: as `HookIntake.take`.
        """
        if namespace in ("", DEFAULT):
            return await self._default.take(name, request)
        opened = await self._namespaces.opened(namespace)
        namespace_context.enter(namespace)
        taken = await opened.mesh.hooks.take(name, request)
        # Not for what is refused: strangers do not keep a namespace open. They open one once in the time after which it is closed.
        opened.used_at_s = time.monotonic()
        return taken
