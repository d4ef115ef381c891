"""The rules for agents, numbered as in docs/protocol.md, and the exceptions of a check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rule(NamedTuple):
    """One rule. `optional`: an agent may leave it out; docs/protocol.md says what is lost."""

    title: str
    optional: bool = False


class RuleBroken(Exception):
    """The agent does not keep the rule. The message says what it did instead."""


class NotChecked(Exception):
    """The rule cannot be checked with this agent. The message says why."""


RULES: Mapping[str, Rule] = {
    # Opening
    "R1": Rule("Hello opens each stream, alone and once."),
    "R2": Rule("Hello keeps its bounds."),
    "R3": Rule("Nothing is sent between Hello and Welcome."),
    "R4": Rule("The instance id belongs to the process."),
    "R5": Rule("The contract is sent when Welcome asks for it, and only then."),
    "R6": Rule("The contract is whole, and its hash is that of its bytes."),
    # Heartbeats
    "R7": Rule("A state follows Welcome, and then one comes each heartbeat interval at least."),
    "R8": Rule("Three intervals without an echo end the stream."),
    "R9": Rule("The agent dials again, however the stream ends."),
    "R10": Rule("A final refusal ends the agent.", optional=True),
    # Attempts
    "R11": Rule("A held attempt is not started again."),
    "R12": Rule("Each attempt is reported once."),
    "R13": Rule("The handler's answer is the outcome, unchanged."),
    "R14": Rule("A method that is not hosted gets an answer."),
    "R15": Rule("No more handlers run at a time than there are slots."),
    "R16": Rule("The time left limits an attempt."),
    "R17": Rule("The agent's clock limits nothing."),
    "R18": Rule("The parts of a message are handled in order."),
    "R19": Rule("The caller's metadata reaches the handler.", optional=True),
    "R20": Rule("A response over the limit is not sent.", optional=True),
    "R21": Rule("Unknown parts are ignored."),
    # Keeping
    "R22": Rule("A result is kept until it is acknowledged."),
    "R23": Rule("An acknowledged result is forgotten."),
    "R24": Rule("Hello names every held attempt."),
    "R25": Rule("An adopted attempt goes on."),
    "R26": Rule("An attempt that is not adopted is cancelled."),
    # Streaming
    "R27": Rule("Responses of a stream are numbered, and come before its end."),
    "R28": Rule("Responses are kept until they are acknowledged."),
    "R29": Rule("A stream waits for acknowledgements.", optional=True),
    # Cancellation
    "R30": Rule("A cancellation reaches the handler, and the attempt is reported."),
    "R31": Rule("A handler that does not end within its grace is given up."),
    "R32": Rule("An attempt that waits for a slot is cancelled without a start."),
    "R33": Rule("A cancellation is for one attempt."),
    "R34": Rule("A lost attempt is cancelled and forgotten."),
    # Draining
    "R35": Rule("A drained agent takes nothing until it is told to work again."),
    "R36": Rule("SIGTERM: release, finish, say goodbye."),
}
