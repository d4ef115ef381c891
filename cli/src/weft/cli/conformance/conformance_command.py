"""`weft conformance`: the command, its output and its JSON."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import Json
from weft.cli.conformance.protocol_rules import RULES
from weft.cli.process.children import run
from weft.cli.terminal import output
from weft.cli.terminal.output import Styled
from weft.cli.terminal.tables import print_indented

if TYPE_CHECKING:
    from weft.cli.conformance.run_checks import Finding

_STYLES = {"passed": "green", "failed": "bold red", "left out": "yellow", "skipped": "dim"}
# The column of the titles.
_SAYS_INDENT = 23


@examples(
    'weft conformance --agent "weft agent weft.cli.conformance.example_agent:agent"',
    "weft conformance --listen 127.0.0.1:7799 --rules R1,R2",
)
def conformance(
    agent: Annotated[
        str,
        typer.Option(
            "--agent",
            metavar="COMMAND",
            help="Command that starts the agent. Without it, you start the agent: the address is printed.",
        ),
    ] = "",
    listen: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Address to listen on for the agent. Port 0: a free port."),
    ] = "127.0.0.1:0",
    rules: Annotated[str, typer.Option(metavar="R1,R2,...", help="Check only these rules.")] = "",
    timeout_s: Annotated[
        float, typer.Option(metavar="S", min=1, help="Time limit for all checks, in seconds.")
    ] = 180.0,
    as_json: Json = False,
) -> None:
    """Play a coordinator and check, rule by rule, that an agent keeps the session's protocol.

    The agent must host weft.conformance.v1.ConformanceService, dial the address in WEFT_TARGET, and put WEFT_AGENT_ID,
    WEFT_AGENT_SLOTS and WEFT_AGENT_PREFETCH into its Hello. The exit status is 1 if a rule is broken.
    """
    wanted = _chosen(rules)
    with tempfile.TemporaryDirectory(prefix="weft-conformance-") as folder:
        found, tail = run(
            _checked(
                shlex.split(agent),
                listen,
                wanted,
                timeout_s,
                Path(folder) / "agent.log",
                _print_remark if as_json else _print_finding,
            )
        )
    if as_json:
        output.line(output.json_text(document(found)))
    else:
        _sum_up(found)
    if any(finding.verdict == "failed" for finding in found):
        if agent:
            output.remark("the agent's last lines:\n" + "\n".join(f"  {line}" for line in tail.splitlines()))
        raise typer.Exit(1)


def _chosen(text: str) -> Collection[str]:
    if not text:
        return RULES.keys()
    names = [name.strip().upper() for name in text.split(",")]
    if unknown := [name for name in names if name not in RULES]:
        raise typer.BadParameter(
            f"there is no rule {unknown[0]!r}; the rules are R1 to R{len(RULES)}", param_hint="--rules"
        )
    return names


async def _checked(
    command: Sequence[str],
    listen: str,
    rules: Collection[str],
    timeout_s: float,
    log: Path,
    tell: Callable[[Finding], None],
) -> tuple[list[Finding], str]:
    from weft.cli.conformance.agent_under_test import AgentUnderTest
    from weft.cli.conformance.run_checks import check
    from weft.cli.conformance.scripted_coordinator import ScriptedCoordinator

    coordinator = ScriptedCoordinator()
    await coordinator.start(listen)
    subject = AgentUnderTest(coordinator, command, log, patience_s=timeout_s)
    if not command:
        output.remark(f"waiting for an agent: start it with WEFT_TARGET={coordinator.address}")
    try:
        found = await check(subject, rules, timeout_s, tell)
    finally:
        await subject.kill()
        await coordinator.stop()
    return found, subject.tail()


def _print_remark(finding: Finding) -> None:
    """Print a finding on stderr, while stdout is for JSON."""
    output.remark(
        f"{finding.rule:4} {finding.verdict:9} {finding.took_s:5.1f} s  {RULES[finding.rule].title}"
    )


def document(found: Sequence[Finding]) -> dict[str, Any]:
    """The JSON document: counts of the verdicts, and a finding for each rule."""
    counts = Counter[str](finding.verdict for finding in found)
    return {
        **{
            verdict.replace(" ", "_"): counts[verdict]
            for verdict in ("passed", "failed", "left out", "skipped")
        },
        "rules": [
            {
                "rule": finding.rule,
                "title": RULES[finding.rule].title,
                "optional": RULES[finding.rule].optional,
                "verdict": finding.verdict.replace(" ", "_"),
                "says": finding.reason,
                "took_s": round(finding.took_s, 3),
            }
            for finding in found
        ],
    }


def _print_finding(finding: Finding) -> None:
    """Print a finding; below it the reason if the check did not pass."""
    verdict = Styled(f"{finding.verdict:9}", _STYLES[finding.verdict])
    took = Styled(f"{finding.took_s:4.1f} s", "dim")
    words = (f"{finding.rule:4} ", verdict, " ", took, f"  {RULES[finding.rule].title}")
    print_indented(words, _SAYS_INDENT, finding.reason)


def _sum_up(found: Sequence[Finding]) -> None:
    counts = Counter[str](finding.verdict for finding in found)
    output.line("")
    output.line(", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES if counts[verdict]))
    output.line("docs/protocol.md explains the rules, and what is lost without an optional rule (left out).")
