"""Rules of payloads: the rules of `buf.validate` in a contract, compiled once, then checked on each message.

    contract ─► RuleOptions: which types have rules ─► compiled, or refused by name ─► MessageRules of a request or response
    message  ─► MessageRules.broken ─► None, or the violations, as many as an error carries

The library protovalidate compiles and checks. It reads messages of any descriptor pool in place. Its import takes 0.2 s and 25 MB,
so it is imported with the first contract that has rules: where an event loop must not wait for it, in a thread before (`load_library`).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from weft.rpc import refusals
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.learned_cost import LEAST_BYTES, LearnedCost
from weft.rpc.contracts.rule_cost import CheckCost
from weft.rpc.contracts.rule_options import RULES_TAG, RuledTypes, RuleOptions, holders
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import FieldViolation, Internal, InvalidArgument
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

LIBRARY = "protovalidate"
# Violations of an error, and their bytes: an error travels in headers, of which stock gRPC takes 8 KiB.
MAX_VIOLATIONS = 20
_MAX_DETAIL_BYTES = 3072
_MAX_TEXT_CHARS = 200
# Violations that the message of an error names.
_IN_MESSAGE = 3
# Of a larger message, the first violation alone is looked for: a message of 2 MB may have a million, each an object.
ALL_UP_TO_BYTES = 16 * 1024
# Protobuf's parser reads no deeper messages.
MAX_LEVELS = 100
# Errors of evaluation that are mistakes of the rule itself, and not of the message: a field that the type does not have, an
# operator that its types do not have. "null" is a value of `google.protobuf.Value`, which has its type from the message.
_MISTAKES = ("no_such_field", "No matching overloads found")
_OF_MESSAGE = "null"
# A mistake too, unless what is selected from is a value whose type each message chooses.
_SELECTS = "Applying SELECT to non-message type"
_VALUE = "google.protobuf.Value"
# The description of a rule that a secret field breaks.
_UNTOLD = "its value is secret, and breaks a rule"


class Violations(NamedTuple):
    """The broken rules of a message."""

    listed: tuple[FieldViolation, ...]
    # Their number; with `more`, there may be further ones that were not looked for.
    total: int
    more: bool = False

    def text(self) -> str:
        """A sentence's end that names the first ones."""
        named = [_sentence(each) for each in self.listed[:_IN_MESSAGE]]
        if self.total > len(named):
            named.append(f"and {self.total - len(named)} more")
        return "; ".join(named) + (" (a large message: only the first is looked for)" if self.more else "")

    def metadata(self, method: str) -> dict[str, str]:
        return {"method": method, "violations": str(self.total)}


class MessageRules:
    """The compiled rules of a message type and its inner messages. For any thread."""

    def __init__(
        self, message_type: Descriptor, validator: Any, ruled: RuledTypes, learned: LearnedCost
    ) -> None:
        self._learned = learned
        self.name = message_type.full_name
        self.cost = CheckCost(ruled)
        # A rule's description may have the value that breaks it.
        self._secret_names = SecretFields().within(message_type)
        # Bound once: a call of it is the whole cost of a valid message.
        self._collect: Callable[..., list[Any]] = validator.collect_violations

    def broken(self, message: Message, size_bytes: int) -> Violations | None:
        """The broken rules; None: the message keeps all of them.

        Args:
            size_bytes: of the serialized message, about.
        """
        large = size_bytes > ALL_UP_TO_BYTES
        try:
            found = self._collect(message, fail_fast=large)
        except BaseException as error:  # those of protovalidate, which is not imported here
            _check_own(error)
            return _single("", f"a rule cannot be evaluated: {_one_line(error)}", "")
        if not found:
            return None
        listed = _listed(found, self._secret_names)
        return Violations(listed, len(found), more=large)

    def broken_request(self, message: Message, size_bytes: int) -> Violations | None:
        """As `broken`, for messages of strangers: one whose check would take long breaks a rule by that."""
        if self.cost.may_exceed(size_bytes) and (why := self.cost.excess(message)):
            return _single("", why, "weft.check_cost")
        if size_bytes < LEAST_BYTES:
            return self.broken(message, size_bytes)
        if why := self._learned.refusal(size_bytes):
            return _single("", why, "weft.check_cost")
        began_s = time.thread_time()
        broken = self.broken(message, size_bytes)
        self._learned.note(size_bytes, time.thread_time() - began_s)
        return broken


class PayloadRules:
    """The rules in the files of one descriptor pool.

    Args:
        pool: the pool. Another pool has another object: the library knows files by name.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._options = RuleOptions(pool)
        self._validator: Any = None
        self._learned = LearnedCost()
        self._compiled: dict[str, MessageRules | None] = {}
        self._checked: set[str] = set()

    def of(self, message_type: Descriptor) -> MessageRules | None:
        """The compiled rules of a message type; None: neither it nor an inner message has any.

        Raises:
            InvalidArgument: rules do not compile (CONTRACT_INVALID); the error names message, field and rule.
        """
        name = message_type.full_name
        if name not in self._compiled:
            ruled = self._options.within(message_type)
            self._compiled[name] = None if ruled is None else self._compile(message_type, ruled)
        return self._compiled[name]

    def _compile(self, message_type: Descriptor, ruled: RuledTypes) -> MessageRules:
        if self._validator is None:
            self._validator = _validator()
        for each in ruled.lists:
            # The library compiles a type when it first meets a message of it.
            if each.full_name not in self._checked:
                if fault := _fault(self._validator, each):
                    raise _does_not_compile(each, fault)
                self._checked.add(each.full_name)
        return MessageRules(message_type, self._validator, ruled, self._learned)


def has_rules(file_descriptor_set: bytes) -> bool:
    """Whether these files may have rules. False: `PayloadRules` finds none, and the library is not used."""
    return RULES_TAG in file_descriptor_set


async def load_library(file_descriptor_set: bytes) -> None:
    """Import the library in a thread if these files may have rules, so that reading them does not hold up the event loop for that."""
    if has_rules(file_descriptor_set) and LIBRARY not in sys.modules:
        await asyncio.to_thread(importlib.import_module, LIBRARY)


def request_refusal(method: str, violations: Violations) -> InvalidArgument:
    """The error for a request that breaks rules."""
    return refusals.rules_violated(
        f"the request of {method} breaks {_rules(violations.total)} of its contract: {violations.text()}",
        violations.listed,
        violations.metadata(method),
    )


def result_refusal(method: str, violations: Violations) -> Internal:
    """The error for a response that breaks rules."""
    return refusals.result_rules_violated(
        f"the response of {method} breaks {_rules(violations.total)} of its contract: {violations.text()}",
        violations.listed,
        violations.metadata(method),
    )


def too_deep() -> Violations:
    """A message that protobuf's parser does not read, because it nests too deeply: rules may be broken within."""
    return _single(
        "", f"it nests deeper than {MAX_LEVELS} levels, so its rules cannot be checked", "weft.depth"
    )


def unreadable(message_type: str) -> Violations:
    """A message that protobuf's parser does not read."""
    why = f"it does not parse as {message_type}, or nests deeper than {MAX_LEVELS} levels: its rules cannot be checked"
    return _single("", why, "weft.unreadable")


def _validator() -> Any:
    import protovalidate

    return protovalidate.Validator()


def _fault(validator: Any, message_type: Descriptor) -> str:
    """Why the rules of a type do not compile; empty: they do."""
    try:
        validator.collect_violations(_empty(message_type))
    except BaseException as error:
        _check_own(error)
        text = _one_line(error)
        # Another error of evaluation may be that of an empty message alone, as a division by a field.
        mistaken = any(each in text for each in _MISTAKES) and _OF_MESSAGE not in text
        mistaken = mistaken or (_SELECTS in text and not _holds_values(message_type, set()))
        if type(error).__name__ == "EvaluationError" and not mistaken:
            return ""
        return text
    return ""


def _check_own(error: BaseException) -> None:
    """Raise an error that is not one of the library. What it calls a panic is no Exception."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


def _holds_values(message_type: Descriptor, seen: set[str]) -> bool:
    """Whether a message has, at any depth, values of any JSON type."""
    seen.add(message_type.full_name)
    inner = [field.message_type for field in message_type.fields if field.message_type is not None]
    return message_type.full_name == _VALUE or any(
        _holds_values(each, seen) for each in inner if each.full_name not in seen
    )


def _empty(message_type: Descriptor) -> Message:
    return descriptors.message_class(message_type)()


def _does_not_compile(message_type: Descriptor, fault: str) -> InvalidArgument:
    name = message_type.full_name
    field = _faulty_field(message_type)
    place = f"{name}.{field}" if field else name
    return refusals.contract_invalid(
        f"{place}: its rules of buf.validate do not compile: {fault}", field=place
    )


def _faulty_field(message_type: Descriptor) -> str:
    """The field, or oneof, whose rules do not compile; empty: those of the message itself.

    The library does not always say. So the rules of each are compiled alone.
    """
    files = descriptors.PlainFileSet.FromString(descriptors.file_descriptor_set([message_type.file]))
    for name, _ in holders(_proto_of(files, message_type)):
        alone = descriptors.PlainFileSet()
        alone.CopyFrom(files)
        for other, holder in holders(_proto_of(alone, message_type)):
            if other != name:
                holder.ClearField("options")
        pool = descriptors.build_pool(alone.file)
        if _fault(_validator(), pool.FindMessageTypeByName(message_type.full_name)):
            return name
    return ""


def _proto_of(files: Any, message_type: Descriptor) -> Any:
    """The descriptor proto of a message type."""
    outer = message_type.containing_type
    if outer is None:
        owner = next(each for each in files.file if each.name == message_type.file.name).message_type
    else:
        owner = _proto_of(files, outer).nested_type
    return next(each for each in owner if each.name == message_type.name)


def _single(field: str, description: str, rule: str) -> Violations:
    return Violations((FieldViolation(field, description[:_MAX_TEXT_CHARS], rule),), 1)


def _listed(found: Sequence[Any], secret_names: frozenset[str]) -> tuple[FieldViolation, ...]:
    listed: list[FieldViolation] = []
    left_bytes = _MAX_DETAIL_BYTES
    for each in found[:MAX_VIOLATIONS]:
        violation = _field_violation(each.proto, secret_names)
        left_bytes -= sum(len(text.encode()) for text in violation)
        if listed and left_bytes < 0:
            break
        listed.append(violation)
    return tuple(listed)


def _field_violation(broken: Any, secret_names: frozenset[str]) -> FieldViolation:
    """A `buf.validate.Violation` as a field violation; of a secret field only its name and the rule."""
    elements = () if broken.field is None else broken.field.elements
    secret = next((index for index, each in enumerate(elements) if each.field_name in secret_names), None)
    path = field_path(elements if secret is None else elements[:secret])
    rule = broken.rule_id
    if not rule and broken.rule is not None:
        rule = ".".join(element.field_name for element in broken.rule.elements)
    told = f"the key {broken.message}" if broken.for_key else broken.message
    if secret is not None:
        name = elements[secret].field_name
        path, told = f"{path}.{name}" if path else name, _UNTOLD
    return FieldViolation(path[:_MAX_TEXT_CHARS], told[:_MAX_TEXT_CHARS], rule[:_MAX_TEXT_CHARS])


def field_path(elements: Iterable[Any]) -> str:
    """The path of a field, such as 'items[2].prices["EUR"]', from a `buf.validate.FieldPath`."""
    path = ""
    for element in elements:
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            # Python's `True` is `true` in JSON, as in the .proto.
            path += f"[{json.dumps(element.subscript.value, ensure_ascii=False)}]"
    return path


def _sentence(violation: FieldViolation) -> str:
    rule = f" ({violation.reason})" if violation.reason else ""
    return (
        f"{violation.field}: {violation.description}{rule}"
        if violation.field
        else violation.description + rule
    )


def _rules(total: int) -> str:
    return "a rule" if total == 1 else f"{total} rules"


def _one_line(error: BaseException) -> str:
    """An error's text, without the drawing of its place in an expression."""
    return str(error).partition("\n")[0][:_MAX_TEXT_CHARS]
