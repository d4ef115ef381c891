"""Each standard rule of `buf.validate` refuses a bad value and takes a good one: a table over the fields of validate.proto.

Numbers and times are generated; the table fails when validate.proto has a rule that it does not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from google.protobuf import text_format

from tests.support.ruled import compiled, message_class, ruled_pool
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.payload_rules import PayloadRules

RULES = "buf/validate/validate.proto"
NUMBERS = (
    *("float", "double", "int32", "int64", "uint32", "uint64"),
    *("sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64"),
)


class Case(NamedTuple):
    """A field with a rule, and values in text form: of the field `f` in a message."""

    # "string" and "min_len", as in `(buf.validate.field).string.min_len`.
    kind: str
    rule: str
    value: str
    good: str
    bad: str
    # The declared type, if it is not that of the kind.
    type: str = ""

    @property
    def declared(self) -> str:
        return (
            f"{self.type or self.kind} f = 1 [(buf.validate.field).{self.kind}.{self.rule} = {self.value}];"
        )


def _number_cases() -> list[Case]:
    cases = []
    for kind in NUMBERS:
        cases += [
            Case(kind, "const", "5", "f: 5", "f: 6"),
            Case(kind, "lt", "5", "f: 4", "f: 5"),
            Case(kind, "lte", "5", "f: 5", "f: 6"),
            Case(kind, "gt", "5", "f: 6", "f: 5"),
            Case(kind, "gte", "5", "f: 5", "f: 4"),
            Case(kind, "in", "5", "f: 5", "f: 6"),
            Case(kind, "not_in", "5", "f: 6", "f: 5"),
        ]
        if kind in ("float", "double"):
            cases += [Case(kind, "finite", "true", "f: 1", f"f: {bad}") for bad in ("inf", "-inf", "nan")]
    return cases


def _time_cases() -> list[Case]:
    five, of = "{seconds: 5}", "f {{seconds: {}}}"
    cases = []
    for kind in ("duration", "timestamp"):
        named = f"google.protobuf.{kind.title()}"
        values = [("const", 5, 6), ("lt", 4, 5), ("lte", 5, 6), ("gt", 6, 5), ("gte", 5, 4)]
        if kind == "duration":
            values += [("in", 5, 6), ("not_in", 6, 5)]
        cases += [
            Case(kind, rule, five, of.format(good), of.format(bad), named) for rule, good, bad in values
        ]
    far, stamp = 32_503_680_000, "google.protobuf.Timestamp"
    return [
        *cases,
        Case("timestamp", "lt_now", "true", of.format(5), of.format(far), stamp),
        Case("timestamp", "gt_now", "true", of.format(far), of.format(5), stamp),
        Case("timestamp", "within", "{seconds: 5}", "", of.format(5), stamp),
    ]


def _text_cases() -> list[Case]:
    formats = {
        "email": ("a@example.com", "a@"),
        "hostname": ("example.com", "-x"),
        "ip": ("127.0.0.1", "127.0.0"),
        "ipv4": ("127.0.0.1", "::1"),
        "ipv6": ("::1", "127.0.0.1"),
        "uri": ("https://example.com/x", "x"),
        "uri_ref": ("./x", "\\\\ x"),
        "address": ("example.com", "-x"),
        "uuid": ("8f6f0a1e-6a7b-4c3d-9e2f-0a1b2c3d4e5f", "8f6f"),
        "tuuid": ("8f6f0a1e6a7b4c3d9e2f0a1b2c3d4e5f", "8f6f"),
        "ulid": ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ"),
        "ip_with_prefixlen": ("10.0.0.1/8", "10.0.0.1"),
        "ipv4_with_prefixlen": ("10.0.0.1/8", "::1/64"),
        "ipv6_with_prefixlen": ("::1/64", "10.0.0.1/8"),
        "ip_prefix": ("10.0.0.0/8", "10.0.0.1/8"),
        "ipv4_prefix": ("10.0.0.0/8", "::/64"),
        "ipv6_prefix": ("::/64", "10.0.0.0/8"),
        "host_and_port": ("example.com:80", "example.com"),
        "protobuf_fqn": ("a.b.C", "a..C"),
        "protobuf_dot_fqn": (".a.b.C", "a.b.C"),
    }
    values = [
        ("const", '"ab"', "ab", "x"),
        ("len", "2", "éé", "é"),
        ("min_len", "2", "ab", "a"),
        ("max_len", "2", "ab", "abc"),
        ("len_bytes", "2", "é", "éé"),
        ("min_bytes", "2", "é", "a"),
        ("max_bytes", "2", "é", "éé"),
        ("pattern", '"^a+$"', "aa", "b"),
        ("prefix", '"a"', "ab", "b"),
        ("suffix", '"b"', "ab", "a"),
        ("contains", '"b"', "abc", "ac"),
        ("not_contains", '"b"', "ac", "abc"),
        ("in", '"a"', "a", "b"),
        ("not_in", '"a"', "b", "a"),
        ("well_known_regex", "KNOWN_REGEX_HTTP_HEADER_NAME", "x-name", "x\\nname"),
        *((rule, "true", good, bad) for rule, (good, bad) in formats.items()),
    ]
    return [Case("string", rule, value, f'f: "{good}"', f'f: "{bad}"') for rule, value, good, bad in values]


def _other_cases() -> list[Case]:
    mask = "google.protobuf.FieldMask"
    raw = [
        ("const", '"ab"', "ab", "x"),
        ("len", "2", "ab", "a"),
        ("min_len", "2", "ab", "a"),
        ("max_len", "2", "ab", "abc"),
        ("pattern", '"^a+$"', "aa", "b"),
        ("prefix", '"a"', "ab", "b"),
        ("suffix", '"b"', "ab", "a"),
        ("contains", '"b"', "abc", "ac"),
        ("in", '"a"', "a", "b"),
        ("not_in", '"a"', "b", "a"),
        ("ip", "true", "\\177\\000\\000\\001", "abc"),
        ("ipv4", "true", "\\177\\000\\000\\001", "abc"),
        ("ipv6", "true", "0123456789abcdef", "abc"),
        ("uuid", "true", "0123456789abcdef", "abc"),
    ]
    return [
        *(Case("bytes", rule, value, f'f: "{good}"', f'f: "{bad}"') for rule, value, good, bad in raw),
        Case("bool", "const", "true", "f: true", ""),
        Case("enum", "const", "1", "f: ONE", "f: TWO", "E"),
        Case("enum", "defined_only", "true", "f: TWO", "f: 7", "E"),
        Case("enum", "in", "1", "f: ONE", "f: TWO", "E"),
        Case("enum", "not_in", "1", "f: TWO", "f: ONE", "E"),
        Case("repeated", "min_items", "2", "f: [1, 2]", "f: [1]", "repeated int32"),
        Case("repeated", "max_items", "1", "f: [1]", "f: [1, 2]", "repeated int32"),
        Case("repeated", "unique", "true", "f: [1, 2]", "f: [1, 1]", "repeated int32"),
        Case("repeated", "items", "{int32: {gt: 1}}", "f: [2]", "f: [2, 1]", "repeated int32"),
        Case("map", "min_pairs", "1", "f {key: 1}", "", "map<int32, int32>"),
        Case("map", "max_pairs", "1", "f {key: 1}", "f {key: 1} f {key: 2}", "map<int32, int32>"),
        Case("map", "keys", "{int32: {gt: 1}}", "f {key: 2}", "f {key: 1}", "map<int32, int32>"),
        Case("map", "values", "{int32: {gt: 1}}", "f {value: 2}", "f {value: 1}", "map<int32, int32>"),
        Case("any", "in", '"a/x"', 'f {type_url: "a/x"}', 'f {type_url: "a/y"}', "google.protobuf.Any"),
        Case("any", "not_in", '"a/x"', 'f {type_url: "a/y"}', 'f {type_url: "a/x"}', "google.protobuf.Any"),
        Case("field_mask", "const", '{paths: ["a"]}', 'f {paths: ["a"]}', 'f {paths: ["b"]}', mask),
        Case("field_mask", "in", '"a"', 'f {paths: ["a"]}', 'f {paths: ["b"]}', mask),
        Case("field_mask", "not_in", '"a"', 'f {paths: ["b"]}', 'f {paths: ["a"]}', mask),
    ]


CASES = [*_number_cases(), *_time_cases(), *_text_cases(), *_other_cases()]
# Not rules of one value: an option of another rule, an example for documentation.
NOT_RULES = frozenset({("string", "strict"), *((kind, "example") for kind in {case.kind for case in CASES})})


@pytest.fixture(scope="module")
def rules() -> Any:
    messages = "\n".join(f"message M{number} {{ {case.declared} }}" for number, case in enumerate(CASES))
    body = f"enum E {{ ZERO = 0; ONE = 1; TWO = 2; }}\n{messages}\nmessage Request {{}}"
    pool = ruled_pool(body)
    found = PayloadRules(pool)

    def check(number: int, text: str) -> list[tuple[str, str]]:
        kind = message_class(pool, f"M{number}")
        of_type = found.of(kind.DESCRIPTOR)
        assert of_type is not None
        broken = of_type.broken(text_format.Parse(text, kind()), 0)
        return [] if broken is None else [(each.field, each.reason) for each in broken.listed]

    return check


@pytest.mark.parametrize(
    "number",
    range(len(CASES)),
    ids=[f"{case.kind}.{case.rule}-{number}" for number, case in enumerate(CASES)],
)
def test_a_standard_rule(rules: Any, number: int):
    case = CASES[number]
    assert rules(number, case.good) == []
    ((field, rule),) = rules(number, case.bad)
    assert field.partition("[")[0] == "f"
    # The rules of items, keys and values have the ids of their own kinds.
    if case.rule not in ("items", "keys", "values"):
        assert rule.startswith(f"{case.kind}."), rule


def test_the_table_has_every_rule():
    pool = descriptors.build_pool(compiled({"t.proto": f'syntax = "proto3"; import "{RULES}";'}).file)
    fields = pool.FindMessageTypeByName("buf.validate.FieldRules").fields
    kinds = {field.name: field.message_type for field in fields if field.containing_oneof is not None}
    wanted = {(kind, field.name) for kind, rules_type in kinds.items() for field in rules_type.fields}
    assert wanted - NOT_RULES == {(case.kind, case.rule) for case in CASES}
