"""The access policy: rules in order, the file and its faults, and `weft policy check`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from weft.cli.main import app
from weft.cli.terminal.failure import Failure
from weft.coordinator.access.access_file import parse_policy
from weft.coordinator.access.access_policy import AccessPolicy, PolicyRule
from weft.coordinator.access.policy_entries import PolicyFault
from weft.coordinator.access.policy_source import PolicySource
from weft.rpc.errors import InvalidArgument
from weft.rpc.identity.access_rules import NO_RULES, MethodRule, rules_of
from weft.rpc.identity.caller import AGENT, CLIENT, OPERATOR, Caller, refusal_of, roles_of

POLICY = """\
default = "deny"

[[rules]]
comment = "the shop"
effect = "allow"
callers = ["token:shop"]
methods = ["acme.shop.*"]

[[rules]]
effect = "deny"
callers = ["role:client"]
methods = ["acme.*"]
namespaces = ["eu-*"]

[[rules]]
effect = "allow"
methods = ["acme.open.*", "weft.v1.ScheduleService/List*"]

[[rules]]
effect = "deny"
callers = ["role:client"]
methods = ["weft.v1.ScheduleService/*"]
"""
FILE = Path("policy.toml")
SHOP = Caller(CLIENT, subject="token:shop")
OTHER = Caller(CLIENT, subject="token:other")


@pytest.mark.parametrize(
    ("caller", "method", "namespace", "allowed", "line"),
    [
        (SHOP, "acme.shop.v1.Shop/Buy", "", True, 3),
        (OTHER, "acme.shop.v1.Shop/Buy", "", False, None),
        (OTHER, "acme.open.v1.Open/Call", "", True, 15),
        (OTHER, "acme.open.v1.Open/Call", "eu-1", False, 9),
        (OTHER, "acme.open.v1.Open/Call", "us-1", True, 15),
        # Weft's own RPCs: only where they are named, and never by the default.
        (OTHER, "weft.v1.CoordinatorService/SubmitTask", "", True, None),
        (OTHER, "weft.v1.ScheduleService/ListSchedules", "", True, 15),
        (OTHER, "weft.v1.ScheduleService/CreateSchedule", "", False, 19),
        (Caller(OPERATOR), "weft.v1.ScheduleService/CreateSchedule", "", True, None),
    ],
)
def test_the_first_rule_that_fits_decides(
    caller: Caller, method: str, namespace: str, allowed: bool, line: int | None
) -> None:
    policy = parse_policy(POLICY, FILE)
    decision = policy.decide(caller._replace(namespace=namespace), method)
    assert (decision.allowed, decision.rule and decision.rule.line) == (allowed, line)
    # The rules travel with the caller, also to agents.
    applied = policy.applied(caller)._replace(namespace=namespace)
    sent = applied._replace(rules=rules_of(applied.rules.message()))
    for each in (applied, sent):
        refusal = refusal_of(each, f"/{method}", roles_of(f"/{method}"))
        assert (refusal is None) == allowed
        if refusal is not None:
            assert refusal.reason_name == "POLICY_DENIED"
        assert each.sees(method) == allowed


@pytest.mark.parametrize(
    ("caller", "names"),
    [
        (Caller(CLIENT, subject="token:shop", token_id="t1", token_name="shop"), "token:shop token:t1"),
        (Caller(CLIENT, subject="token:t1", token_id="t1"), "token:t1"),
        (
            Caller(CLIENT, subject="certificate:spiffe://m/a", token_id="t1", token_name="shop"),
            "certificate:spiffe://m/a spiffe://m/a token:t1 token:shop",
        ),
        # A host name in a certificate is no name of another kind.
        (Caller(CLIENT, subject="certificate:token:shop", token_id="t1"), "certificate:token:shop token:t1"),
        (Caller(CLIENT, subject="jwt:corp:alice"), "jwt:corp:alice"),
    ],
)
def test_a_caller_has_the_names_of_its_token_and_of_its_proof(caller: Caller, names: str) -> None:
    assert set(caller.names) == {*names.split(), "role:client"}


def test_no_policy_costs_nothing_and_denies_nothing() -> None:
    assert not AccessPolicy().applied(SHOP).rules
    assert Caller(CLIENT).sees_all
    assert rules_of(NO_RULES.message()) is NO_RULES


_PATTERN = st.sampled_from(["a.v1.S/M", "a.*", "b.*", "*M", "weft.*", "*"])
_RULES = st.lists(
    st.builds(
        PolicyRule,
        st.builds(
            MethodRule,
            st.booleans(),
            st.lists(_PATTERN, max_size=2).map(tuple),
            st.lists(st.sampled_from(["default", "eu*"]), max_size=2).map(tuple),
        ),
        st.lists(st.sampled_from(["token:*", "role:agent", "token:a"]), max_size=2).map(tuple),
    ),
    max_size=4,
).map(tuple)


@given(
    st.builds(AccessPolicy, _RULES, st.booleans()),
    st.sampled_from([Caller(CLIENT, subject="token:a"), Caller(AGENT, subject="spiffe://m/a")]),
    st.sampled_from(["a.v1.S/M", "b.v1.S/N", "weft.v1.TokenService/ListTokens"]),
    st.sampled_from(["", "eu-1"]),
)
def test_what_is_told_is_what_is_done(
    policy: AccessPolicy, caller: Caller, method: str, namespace: str
) -> None:
    """`decide` names the rule, and the caller's own rules decide: both by the same order."""
    caller = caller._replace(namespace=namespace)
    decision = policy.decide(caller, method)
    assert policy.applied(caller).rules.allow(method, namespace) == decision.allowed
    if decision.rule is not None:
        assert decision.rule.rule.allow == decision.allowed
    else:
        assert decision.allowed == (not policy.deny_others or method.startswith("weft."))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("default =", "policy.toml is not TOML"),
        ('[[identities]]\nsubject = "x"', "unknown key 'identities'"),
        ('default = "maybe"', "default is 'maybe', and must be one of allow, deny"),
        ('defualt = "deny"', "unknown key 'defualt'; do you mean default?"),
        ("rules = 3", "rules must be tables"),
        ("rules = [1]", "rules, entry 1 must be a table"),
        ("\n[[rules]]\n", "policy.toml:2: rules, entry 1: effect is missing: it is one of allow, deny"),
        ('[[rules]]\neffect = "allow"\ncaller = ["x"]', "unknown key 'caller'; do you mean callers?"),
        ('[[rules]]\neffect = "allow"\nmethods = []', "methods is empty: it must be a list of patterns"),
        ('[[rules]]\neffect = "allow"\nmethods = "a.*"', "methods must be a list of patterns"),
        ('[[rules]]\neffect = "allow"\nmethods = [1]', "methods must be a list of patterns"),
        ('[[rules]]\neffect = "allow"\nmethods = ["\\u0000"]', "printable"),
        (f'[[rules]]\neffect = "allow"\nmethods = {["a"] * 65}', "at most 64 texts"),
    ],
)
def test_a_wrong_file_says_where_and_why(text: str, why: str) -> None:
    with pytest.raises(PolicyFault) as fault:
        parse_policy(text, FILE)
    assert why in str(fault.value)
    assert str(fault.value).startswith("policy.toml")


@given(
    st.text(max_size=200)
    | st.sampled_from(POLICY.splitlines()).flatmap(
        lambda line: st.text(max_size=5).map(lambda end: f"[[rules]]\n{line}{end}")
    )
)
def test_any_text_is_a_policy_or_a_fault(text: str) -> None:
    with contextlib.suppress(PolicyFault):
        parse_policy(text, FILE)


def test_a_changed_file_is_read_again_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    with pytest.raises(InvalidArgument, match="cannot read the policy file"):
        PolicySource(file)
    file.write_text(POLICY)
    source = PolicySource(file)
    first = source.present
    assert not source.look()
    file.write_text(POLICY + "[[rules]]\n")
    assert not source.look()
    assert "policy.toml:23" in source.fault
    assert source.present is first
    file.unlink()
    assert not source.look()
    assert source.present is first
    file.write_text('default = "allow"')
    assert source.look()
    assert source.present == AccessPolicy()
    assert source.fault == ""


def test_the_command_says_which_rule_decides(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)

    def check(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["policy", "check", str(file), *words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output.replace("\n", " ")

    assert check()[0] == 0
    call = ("--method", "acme.shop.v1.Shop/Buy")
    status, said = check("--as", "token:shop", *call)
    assert (status, "allowed" in said, "line 3 (the shop)" in said) == (0, True, True)
    status, said = check("--as", "token:shop", *call, "--namespace", "eu-1", "--json")
    assert (status, json.loads(said)["line"]) == (0, 3)
    status, said = check("--as", "token:other", *call)
    assert (status, "no rule fits: the default" in said) == (1, True)
    status, said = check("--role", "agent", "--method", "weft.v1.TokenService/CreateToken")
    assert (status, "role agent" in said) == (1, True)
    assert check("--as", "token:shop")[0] == 2
    file.write_text("x")
    with pytest.raises(Failure) as failure:
        check()
    assert failure.value.status == 2
