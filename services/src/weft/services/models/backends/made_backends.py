"""Makes the backends that the settings name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from weft.services.models.backends.backend import Backend
from weft.services.models.backends.rules_backend import RulesBackend, read_rules
from weft.services.models.settings import ModelsSettings


def make_backends(settings: ModelsSettings) -> Mapping[str, Backend]:
    """The backends by name, in the order of the settings.

    Raises:
        ValueError, OSError: as `ModelsSettings.read_keys`, or a file of rules is wrong.
    """
    keys = settings.read_keys()
    made: dict[str, Backend] = {}
    for name in settings.backends:
        kind, place = settings.address(name)
        # Their libraries take a second to import: only those that are needed.
        if kind == RulesBackend.kind:
            made[name] = RulesBackend(name, read_rules(Path(place)))
        elif kind == "ollama":
            from weft.services.models.backends.ollama_backend import OllamaBackend

            made[name] = OllamaBackend(name, place, keys.get(name), settings.connect_timeout_s)
        else:
            from weft.services.models.backends.openai_backend import OpenAIBackend

            made[name] = OpenAIBackend(name, place, keys.get(name), settings.connect_timeout_s)
    return made
