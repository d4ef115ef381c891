"""The addresses of a target as they are now."""

from __future__ import annotations

from collections.abc import Sequence

from weft.rpc.network.targets import is_source


def resolved(targets: Sequence[str], *, patient: bool = False) -> tuple[str, ...]:
    """The addresses of `targets` (from `targets.parse`) now: of a source, those that it names, for which this may block for some seconds. Empty: none is known.

    Args:
        patient: wait also while the source is away, or names none: coordinators may be about to start.
    """
    if not is_source(targets[0]):
        return tuple(targets)
    # Imported here: most targets are addresses.
    from weft.rpc.registries.followed import present

    return present(targets[0], patient=patient)
