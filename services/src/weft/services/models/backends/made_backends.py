"""Makes the backends that the settings name."""

from __future__ import annotations

from collections.abc import Mapping

from weft.services.models.backends.backend import Backend
from weft.services.models.backends.openai_backend import OpenAIBackend
from weft.services.models.settings import ModelsSettings


def make_backends(settings: ModelsSettings) -> Mapping[str, Backend]:
    """The backends by name, in the order of the settings.

    Raises:
        ValueError, OSError: as `ModelsSettings.read_keys`.
    """
    keys = settings.read_keys()
    made: dict[str, Backend] = {}
    for name in settings.backends:
        _, url = settings.address(name)
        made[name] = OpenAIBackend(name, url, keys.get(name), settings.connect_timeout_s)
    return made
