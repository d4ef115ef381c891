"""The membership of a process in a mesh that makes certificates by itself: joins once, and renews until the process ends.

    pin ─► the authority, at the join port ─► token + signing request ─► certificate, in a folder ─► settings as of any files
                                                                             ▲
    after two thirds of its life: the certificate itself + a new request ────┘

One membership for each mesh, token and agent of a process. A thread renews, so that no event loop has to run. What uses the files finds the new ones
by itself. If renewals fail, the certificate that there is stays in use, and the log says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weft.rpc import refusals
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.membership.certificate_client import TIMEOUT_S, Issued, ask
from weft.rpc.membership.first_contact import authority_at
from weft.rpc.membership.identity_folder import IdentityFolder
from weft.rpc.network.targets import is_source, parse
from weft.rpc.process.logs import get_logger
from weft.rpc.registries.resolved_targets import resolved
from weft.rpc.security import tokens
from weft.rpc.security.jwt_form import is_jwt
from weft.rpc.security.mesh_names import COORDINATOR
from weft.rpc.security.tls import Tls

if TYPE_CHECKING:
    from weft.rpc.security.token_source import TokenSource

_log = get_logger("weft.tls")

# The longest pause between looks at the clock: a machine may have slept.
_LOOK_S = 60.0
# Between failed renewals; less if the certificate ends sooner.
_RETRY_S = 30.0
_LEAST_RETRY_S = 0.5

# Whose: settings, coordinators, the token's origin, and the agent.
_Key = tuple[Tls, tuple[str, ...], str, str]
_members: dict[_Key, Membership] = {}
_joining = threading.Lock()


def joined(
    tls: Tls, targets: Sequence[str], token: TokenSource | None, agent_id: str = ""
) -> tuple[Tls, TokenSource | None]:
    """The files of this process' own certificate, and no token to show: the certificate stands for it. But for an outside issuer's token: that
    one is shown, too. Blocks for some seconds at most, if the process has not joined yet.

    Args:
        targets: the coordinators.
        agent_id: the certificate is for an agent and its port; empty: for a caller.

    Raises:
        InvalidArgument: there is no token, or nowhere to join.
        Unavailable: NOT_JOINED: now.
        WeftError: as a coordinator says.
        MissingExtra: the packages that make keys are not installed.
    """
    if token is None:
        raise refusals.invalid_field(
            "tls_pin (WEFT_TLS_PIN): a mesh is joined with a token: set WEFT_TOKEN or WEFT_TOKEN_FILE",
            field="token",
        )
    key = tls, tuple(targets), token.origin, agent_id
    with _joining:
        member = _members.get(key)
        if member is None:
            member = Membership(tls, targets, token, agent_id)
            try:
                member.join()
            except BaseException:
                member.folder.remove()
                raise
            _members[key] = member
    return member.tls, token if member.shows_token else None


class Membership:
    """One membership."""

    def __init__(self, tls: Tls, targets: Sequence[str], token: TokenSource, agent_id: str) -> None:
        self._pin = tls.pin
        self._targets = tuple(targets)
        self._join_at = parse(tls.join, sources=False) if tls.join else ()
        if not tls.join and not is_source(targets[0]):
            self._join_at = tuple(map(_next_port, targets))
        self._token = token
        # The digest of the token that the certificate stands for.
        self._joined_by = b""
        # An outside issuer's, which proves the caller with each call: certificates stand for tokens of the mesh alone.
        self.shows_token = is_jwt(token.text())
        self._agent_id = agent_id
        self.folder = IdentityFolder()
        self.tls = self.folder.tls(server_name=COORDINATOR, serves=bool(agent_id))
        self._renew_at_s = 0.0
        self._renew_after_s = 0.0

    def join(self) -> None:
        """Get the first certificate, and keep it renewed from now on.

        Raises:
            WeftError: it cannot be had.
        """
        self._take(self._by_token())
        threading.Thread(target=self._keep, name="weft-certificate", daemon=True).start()

    def _keep(self) -> None:
        told = False
        while True:
            # By this machine's clock, which goes on while the machine sleeps.
            while (left_s := self._renew_at_s - time.time()) > 0 and left_s <= self._renew_after_s:
                time.sleep(min(left_s, _LOOK_S))
            try:
                self.renew()
            except Exception as error:
                if not told:
                    _log.warning(
                        "tls.certificate_not_renewed",
                        error=str(error),
                        effect="the certificate that there is stays in use, while this is tried again",
                    )
                told = True
                time.sleep(min(_RETRY_S, max(_LEAST_RETRY_S, self._renew_after_s / 10)))
            else:
                told = False
                _log.info("tls.certificate_renewed", renew_after_s=round(self._renew_after_s, 1))

    def renew(self) -> None:
        """Get a new certificate: by the present one, or else by the token. Another token in a file comes first.

        Raises:
            WeftError: it cannot be had. The present one stays.
        """
        self._take(self._renewed())

    def _renewed(self) -> Issued:
        if self.token_changed:
            try:
                return self._by_token()
            except WeftError as error:
                _log.warning("tls.token_not_taken", error=error.message, effect="renewed by the certificate")
        for target in () if self.shows_token else resolved(self._targets):
            try:
                return ask(target, self.tls, None, self._agent_id)
            except WeftError as error:
                _log.debug("tls.renewal_failed", target=target, error=error.message)
        return self._by_token()

    @property
    def token_changed(self) -> bool:
        """Whether its file has another token than the one that the certificate stands for."""
        return _digest(self._token) != self._joined_by

    def _by_token(self) -> Issued:
        by = _digest(self._token)
        issued = self.issued_by_token()
        self._joined_by = by
        return issued

    def issued_by_token(self) -> Issued:
        """A certificate, by pin and token.

        Raises:
            WeftError: it cannot be had.
        """
        last: WeftError = refusals.not_joined("there is no address to join at")
        # Those of a source are other ones from time to time.
        for address in self._join_at or map(_next_port, resolved(self._targets)):
            try:
                self.folder.trust(authority_at(address, self._pin, TIMEOUT_S))
                by = Tls(ca=str(self.folder.authorities), server_name=COORDINATOR)
                return ask(address, by, self._token, self._agent_id)
            except OSError as error:
                last = refusals.not_joined(
                    f"cannot join at {address}: {error.strerror or error}. A coordinator with --ca auto has a join port beside its own"
                    " one: set WEFT_TLS_JOIN if it is not the next one"
                )
            except Unavailable as error:
                last = refusals.not_joined(f"cannot join at {address}: {error.message}")
        raise last

    def _take(self, issued: Issued) -> None:
        self.folder.put(issued.certificate, issued.key, issued.authorities)
        self._renew_after_s = issued.renew_after_s
        self._renew_at_s = time.time() + issued.renew_after_s


def _next_port(target: str) -> str:
    host, _, port = target.rpartition(":")
    if target.startswith("unix") or not host:
        raise refusals.invalid_field(
            f"tls_join (WEFT_TLS_JOIN): {target} has no port after it: say where the mesh is joined",
            field="tls_join",
        )
    return f"{host}:{int(port) + 1}"


def _digest(token: TokenSource) -> bytes:
    return tokens.digest(token.text())
