"""`weft policy check`: whether a policy file is right, and what it says of a call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import Json
from weft.cli.process.loading import loading
from weft.cli.terminal.output import Styled, json_text, line

if TYPE_CHECKING:
    from weft.coordinator.access.access_policy import AccessPolicy
    from weft.rpc.identity.caller import Caller

_HELP = with_examples(
    "Check the file that says who may call what (weft coordinator --policy FILE).",
    "weft policy check policy.toml",
    "weft policy check policy.toml --as token:shop --method acme.research.v1.ResearchService/Summarize",
)
app = typer.Typer(name="policy", help=_HELP, no_args_is_help=True, **SETTINGS)


@app.callback(help=_HELP)
def _policy() -> None:
    """Keeps `check` a subcommand."""


@app.command()
@examples(
    "weft policy check policy.toml",
    "weft policy check policy.toml --as token:shop --method acme.v1.Shop/Buy",
    "weft policy check policy.toml --as spiffe://mesh/agent/w1 --role agent --method acme.v1.Shop/Buy --namespace eu",
)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", envvar="WEFT_POLICY", help="The policy file.")],
    subject: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="SUBJECT",
            help="Who calls: token:NAME, a SPIFFE id, or an outside issuer's subject.",
        ),
    ] = "",
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE",
            help="The caller's role. [default: client]",
            show_default=False,
        ),
    ] = "",
    method: Annotated[str, typer.Option(metavar="METHOD", help="The full name of the called method.")] = "",
    namespace: Annotated[str, typer.Option(metavar="NAME", help="The namespace of the call.")] = "",
    as_json: Json = False,
) -> None:
    """Check a policy file, and say what it decides of a call.

    With --as (or --role) and --method, it says whether the caller may call the method, and by which rule.
    The exit status is 0 if the call is allowed, 1 if it is denied, and 2 if the file is wrong. The scopes of tokens are not looked at: they
    are in the coordinator's store.
    """
    if bool(subject or role) != bool(method):
        raise typer.BadParameter("--method goes with --as or --role: who calls what")
    with loading():
        from weft.cli.terminal.failure import Failure
        from weft.coordinator.access.access_file import read_policy
        from weft.coordinator.access.policy_entries import PolicyFault
        from weft.rpc.identity.caller import CERTIFICATE_PREFIX, ROLES, Caller

    if role and role not in ROLES:
        raise typer.BadParameter(f"{role!r} is not one of {', '.join(ROLES)}", param_hint="--role")
    try:
        policy = read_policy(file)
    except PolicyFault as fault:
        raise Failure(str(fault), status=2) from None
    if not method:
        _tell_file(file, policy, as_json=as_json)
        return
    if subject.startswith("spiffe://"):
        subject = f"{CERTIFICATE_PREFIX}{subject}"
    caller = Caller(ROLES[role or "client"], namespace=namespace, subject=subject)
    if not _tell_decision(file, policy, caller, method, as_json=as_json):
        raise typer.Exit(1)


def _tell_file(file: Path, policy: AccessPolicy, *, as_json: bool) -> None:
    facts = {
        "default": "deny" if policy.deny_others else "allow",
        "rules": len(policy.rules),
        "issuers": len(policy.issuers),
        "limits": len(policy.limits) + len(policy.namespace_limits),
    }
    if as_json:
        line(json_text({"file": str(file), **facts}))
    else:
        line(f"{file}: " + ", ".join(f"{name} {value}" for name, value in facts.items()))


def _tell_decision(file: Path, policy: AccessPolicy, caller: Caller, method: str, *, as_json: bool) -> bool:
    """Print the decision. True: the call is allowed."""
    from weft.rpc.identity.caller import refusal_of, role_name, roles_of

    decision = policy.decide(caller, method)
    refusal = refusal_of(policy.applied(caller), f"/{method}", roles_of(f"/{method}"))
    allowed = refusal is None
    if refusal is not None and decision.allowed:
        why = refusal.message
    elif decision.rule is None:
        why = (
            "no rule fits: the default"
            if roles_of(f"/{method}") is None
            else "no rule fits: its roles decide"
        )
    else:
        why = f"the rule in line {decision.rule.line}" if decision.rule.line else "a rule"
        why += f" ({decision.rule.comment})" if decision.rule.comment else ""
    if as_json:
        rule_line = decision.rule.line if decision.rule is not None else None
        who = {
            "subject": caller.subject,
            "role": role_name(caller.role),
            "namespace": caller.namespace or "default",
        }
        line(json_text({**who, "method": method, "allowed": allowed, "line": rule_line, "why": why}))
    else:
        verdict = Styled("allowed", "green") if allowed else Styled("denied", "red")
        line((verdict, f": {file}, {why}"))
    return allowed
