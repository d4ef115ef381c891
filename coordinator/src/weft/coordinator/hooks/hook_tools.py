"""What the parts of hooks are made with."""

from __future__ import annotations

from typing import NamedTuple

from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.hooks.hook_secrets import HookSecrets
from weft.coordinator.identity.makers import Makers
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc.identity.edge import Edge
from weft.rpc.security.secret_text import SecretText


class HookTools(NamedTuple):
    """The parts of one mesh that hooks need.

    Attributes:
        makers: judges who made hooks.
        namespace: empty: the default one.
    """

    store: Store
    contracts: Contracts
    submissions: SubmissionService
    sessions: Sessions
    settings: CoordinatorSettings
    secrets: HookSecrets
    edge: Edge
    makers: Makers
    coordinator_id: str
    namespace: str


def hook_secrets(settings: CoordinatorSettings) -> HookSecrets:
    """The secrets of hooks, by the settings' passphrase.

    Raises:
        MissingExtra: the package that encrypts is not installed.
    """
    given = settings.hook_passphrase
    return HookSecrets(SecretText(given.get_secret_value() if given is not None else ""))
