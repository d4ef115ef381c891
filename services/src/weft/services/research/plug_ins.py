"""Tools of packages, such as a search of the web: entry points of the group `weft.research_tools`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple, Protocol

from weft.agent import HostingError

GROUP = "weft.research_tools"


class Found(NamedTuple):
    """Something that a tool has found."""

    # Where it is from, such as "https://example.com/page": citations name it.
    source: str
    # Its text: citations quote it.
    text: str


class ResearchTool(Protocol):
    """A tool that a model may call. The entry point is a class, or a function of no arguments, that gives one."""

    # What it does, for the model.
    description: str
    # A JSON Schema of its arguments: an object.
    parameters_json: str

    async def call(self, arguments: dict[str, Any]) -> Sequence[Found]:
        """Call it. What it raises is told to the model, and costs this call alone; it is cancelled after 30 s.

        Args:
            arguments: as the model has written them: they need not keep to the schema.
        """
        ...


def load_tools(names: Sequence[str]) -> dict[str, ResearchTool]:
    """The tools of these names.

    Raises:
        HostingError: there is none of a name, or it cannot be imported or made.
    """
    made: dict[str, ResearchTool] = {}
    entries = {each.name: each for each in metadata.entry_points(group=GROUP)} if names else {}
    for name in names:
        if name not in entries:
            known = ", ".join(sorted(entries)) or "none"
            raise HostingError(
                f"WEFT_RESEARCH_PLUG_INS: there is no research tool {name!r}; installed: {known}"
            )
        try:
            made[name] = entries[name].load()()
        except Exception as error:
            raise HostingError(f"the research tool {name} cannot be made: {error}") from error
    return made
