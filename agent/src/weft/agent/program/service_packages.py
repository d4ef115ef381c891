"""Services that come as packages, and that any agent can host by their names: `weft agent --with hardware`.

    entry point of the group `weft.services` ─► ServicePackage ─► settings read ─► add_to(agent, settings)

weft's own services are found in the same way as those of others: nothing here knows one of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import ValidationError

from weft.agent.agent import Agent
from weft.agent.errors import HostingError, LoadError, ProgramError, SettingsError
from weft.rpc.process.extras import MissingExtra
from weft.rpc.process.file_settings import FileSettings
from weft.rpc.similar_names import similar_names

if TYPE_CHECKING:
    from importlib import metadata

GROUP = "weft.services"
S = TypeVar("S", bound=FileSettings)


@dataclasses.dataclass(frozen=True, slots=True)
class ServicePackage(Generic[S]):
    """A service that any agent can host by its name.

        package = ServicePackage("weather", add_to, WeatherSettings)

    A distribution names it by an entry point, from then on `weft agent --with weather` hosts it:

        [project.entry-points."weft.services"]
        weather = "acme.weather:package"

    The module of the package is imported to know its settings, too: it should import little, and `add_to` the rest.

    Args:
        name: as the entry point's.
        add_to: gives an agent the servicers, hooks and gauges of the service. It may raise what `Agent.add_servicer` raises.
        settings: the model of the settings, which `add_to` gets: with `env_prefix="WEFT_WEATHER_"` and `table = "services.weather"` they come from
            variables and from the table `[services.weather]` of weft.toml.
    """

    name: str
    add_to: Callable[[Agent, S], None]
    settings: type[S]

    def host(self, agent: Agent) -> None:
        """Let an agent, which does not run yet, host the service.

        Raises:
            SettingsError: a setting has a wrong value.
            MissingExtra: packages that the service needs are not installed.
            HostingError: the agent hosts it already, or runs.
        """
        try:
            settings = self.settings()
        except ValidationError as error:
            faults = self.settings.faults(error, {})
            text = "; ".join(map(str, faults))
            raise SettingsError(f"{self.name} setting {text}", field=faults[0].name) from None
        self.add_to(agent, settings)

    def agent(self) -> Agent:
        """An agent that hosts this service alone: what `weft agent MODULE:agent` runs.

        Raises:
            InvalidArgument: as `host`, or a setting of agents has a wrong value.
        """
        made = Agent()
        self.host(made)
        return made


def add_services(agent: Agent, names: Iterable[str]) -> None:
    """Let an agent host services by their names, each once.

    Raises:
        LoadError: there is no service of a name.
        ProgramError: a service cannot be imported or hosted; the message has the error.
        SettingsError: a setting of a service has a wrong value.
        MissingExtra: packages that a service needs are not installed.
    """
    from weft.agent.program.loader import program_error

    for name in dict.fromkeys(names):
        found = load_service(name)
        try:
            found.host(agent)
        except (SettingsError, MissingExtra, KeyboardInterrupt):
            raise
        except HostingError as error:
            raise ProgramError(f"the service {name} cannot be hosted: {error.message}") from error
        except BaseException as error:
            raise program_error(f"the service {name} cannot be hosted", error) from error


def load_service(name: str) -> ServicePackage[FileSettings]:
    """The service of a name.

    Raises:
        LoadError: there is none, or its entry point leads to something else.
        ProgramError: it cannot be imported.
        MissingExtra: packages that it needs are not installed.
    """
    from weft.agent.program.loader import program_error

    known = installed_services()
    if name not in known:
        near = similar_names(name, known)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise LoadError(
            f"there is no service {name!r}; installed: {', '.join(sorted(known)) or 'none'}{hint}"
        )
    entry = known[name]
    try:
        found = entry.load()
    except (MissingExtra, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise program_error(f"the service {name} ({entry.value}) cannot be imported", error) from error
    if not isinstance(found, ServicePackage):
        raise LoadError(
            f"the service {name} ({entry.value}) is a {type(found).__name__}, not a weft.agent.ServicePackage"
        )
    return found


def service_settings() -> dict[str, type[FileSettings]]:
    """The settings models of the installed services, by their tables. A service that cannot be imported has none: `weft agent --with` says why."""
    found: dict[str, type[FileSettings]] = {}
    for name in sorted(installed_services()):
        with contextlib.suppress(LoadError, MissingExtra):
            model = load_service(name).settings
            found[model.table] = model
    return found


def installed_services() -> Mapping[str, metadata.EntryPoint]:
    """The entry points of the services that are installed, by name. Of two with one name, that of weft itself counts."""
    # Imported late: it is slow to import, and most agents host no such service.
    from importlib import metadata

    entries = sorted(metadata.entry_points(group=GROUP), key=lambda each: each.value.startswith("weft."))
    return {each.name: each for each in entries}
