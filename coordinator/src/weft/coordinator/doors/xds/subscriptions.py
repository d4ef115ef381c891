"""What one stream has asked for and was told: state-of-the-world xDS. Pure.

    request ─► ask ─┐
                    ├─► next: one answer, of the newest version ─► the client
    new version ────┘

An answer is made when it can be sent: a client that reads slowly misses versions, and nothing is kept for it. Listeners and clusters are told whole, since one
that is left out is gone; of routes and endpoints those that have changed.
"""

from __future__ import annotations

from collections.abc import Callable

from weft.coordinator.doors.xds import resources
from weft.coordinator.doors.xds.discovery_request import DiscoveryAsked
from weft.coordinator.doors.xds.mesh_versions import MeshVersion

# A cluster before what leads to it: so that a client has no route to nothing.
_ORDER = (resources.CLUSTER, resources.ENDPOINTS, resources.LISTENER, resources.ROUTES)
_TOLD_WHOLE = frozenset({resources.CLUSTER, resources.LISTENER})
_ALL = "*"


class _Subscription:
    """One type of resources. `told`: by name, as last sent."""

    def __init__(self, *, by_default: bool) -> None:
        # The first request without names, of a type that is told whole, asks for all; later ones for none.
        self.wants_all = by_default
        self.names: frozenset[str] = frozenset()
        self.told: dict[str, bytes] = {}
        self.nonce = ""
        self.answered = False


class ResourceSubscriptions:
    """Those of a stream.

    Args:
        may_see: whether the stream's caller may know of a service.
    """

    def __init__(self, may_see: Callable[[str], bool]) -> None:
        self._may_see = may_see
        self._by_type: dict[str, _Subscription] = {}
        self._nonce = 0

    def ask(self, asked: DiscoveryAsked) -> bool:
        """Take a request. False: its client has rejected the last answer of its type."""
        if asked.type_url not in _ORDER:
            # Nothing of that type is ever told.
            return True
        found = self._by_type.get(asked.type_url)
        if found is None:
            whole = asked.type_url in _TOLD_WHOLE
            found = self._by_type[asked.type_url] = _Subscription(by_default=whole and not asked.names)
        # A request about an earlier answer counts, too: its client may have dropped a name, and with it what it knows, and ask for it again.
        before = found.names, found.wants_all
        # After the first request, no names are none.
        found.wants_all = _ALL in asked.names or (found.wants_all and not asked.names)
        found.names = asked.names - {_ALL}
        # A name that comes back is told again.
        found.told = {
            name: told for name, told in found.told.items() if found.wants_all or name in found.names
        }
        if found.names - before[0] or (found.wants_all and not before[1]):
            # Also if there is nothing of that name: a client that is not told so waits for it.
            found.answered = False
        return not (asked.rejected and asked.nonce == found.nonce)

    def next(self, version: MeshVersion) -> bytes | None:
        """The next answer that is due. None: the stream knows all that it asked for."""
        for type_url in _ORDER:
            found = self._by_type.get(type_url)
            if found is None:
                continue
            table = version.by_type[type_url]
            names = table if found.wants_all else found.names
            present = {
                name: table[name]
                for name in sorted(names)
                if name in table and self._may_see(name.partition("/")[0])
            }
            if type_url in _TOLD_WHOLE:
                if found.answered and present == found.told:
                    continue
                found.told, told = present, present
            else:
                told = {name: made for name, made in present.items() if found.told.get(name) != made}
                # One that is gone may come back.
                found.told = {name: made for name, made in found.told.items() if name in present} | told
                if not told:
                    continue
            found.answered = True
            self._nonce += 1
            found.nonce = str(self._nonce)
            return resources.with_nonce(version.body(type_url, tuple(told)), found.nonce)
        return None
