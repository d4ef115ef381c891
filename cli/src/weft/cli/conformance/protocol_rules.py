"""The rules that an agent keeps, numbered as docs/protocol.md numbers them, and how a check says what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rule(NamedTuple):
    """One rule. `optional`: an agent may leave it out, and something is lost that the documentation names."""

    title: str
    optional: bool = False


class Broken(Exception):
    """The agent does not keep the rule; the message says what it did instead."""


class NotChecked(Exception):
    """The rule cannot be checked with this agent; the message says why."""


RULES: Mapping[str, Rule] = {
    # Opening
    "R1": Rule("Hello opens each stream, alone, and comes once."),
    "R2": Rule("Hello keeps its bounds."),
    "R3": Rule("Nothing is sent between Hello and Welcome."),
    "R4": Rule("The instance id is that of the process."),
    "R5": Rule("The contract is sent when Welcome asks for it, and only then."),
    "R6": Rule("The contract is whole, and its hash is that of its bytes."),
    # Heartbeats
    "R7": Rule("A state comes after Welcome, and once a heartbeat interval at least."),
    "R8": Rule("Three intervals without an echo end the stream."),
    "R9": Rule("Whatever ends the stream, the agent dials again."),
    "R10": Rule("A refusal for good ends the agent.", optional=True),
    # Attempts
    "R11": Rule("An attempt that is held is not started again."),
    "R12": Rule("Each attempt is reported once."),
    "R13": Rule("The handler's answer is the outcome, unchanged."),
    "R14": Rule("A method that is not hosted is answered."),
    "R15": Rule("No more runs at a time than there are slots."),
    "R16": Rule("What is left of its time limits an attempt."),
    "R17": Rule("The agent's clock does not."),
    "R18": Rule("The parts of a message are handled in order."),
    "R19": Rule("The caller's metadata reaches the handler.", optional=True),
    "R20": Rule("A response over the limit is not sent.", optional=True),
    "R21": Rule("What the agent does not know, it ignores."),
    # Keeping
    "R22": Rule("A result is kept until it is acknowledged."),
    "R23": Rule("A result that is acknowledged is forgotten."),
    "R24": Rule("Hello names every attempt that is held."),
    "R25": Rule("An adopted attempt goes on."),
    "R26": Rule("An attempt that is not adopted is cancelled."),
    # Streaming
    "R27": Rule("Responses of a stream are numbered, and come before its end."),
    "R28": Rule("Responses are kept until they are acknowledged."),
    "R29": Rule("A stream waits for acknowledgements.", optional=True),
    # Cancellation
    "R30": Rule("A cancellation reaches the handler, and the attempt is reported."),
    "R31": Rule("A handler that does not end in its grace is given up."),
    "R32": Rule("What waits for a slot is cancelled without being started."),
    "R33": Rule("A cancellation means one attempt."),
    "R34": Rule("What is lost is cancelled and forgotten."),
    # Draining
    "R35": Rule("An agent that is drained takes nothing, and works again when it is told."),
    "R36": Rule("SIGTERM: hand back, finish, say goodbye."),
}
