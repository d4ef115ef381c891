"""Contracts: refused ones, valid payloads, and the contract in force."""

from __future__ import annotations

import random

import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from tests.support.schema import METHOD, PACKAGE, contract, file, file_set
from weft.coordinator.contracts import contract_catalogue as module
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.rpc.contracts import descriptors
from weft.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from weft.v1 import coordinator_pb2, fleet_pb2

# -- loading --------------------------------------------------------------------------------------------------------


def test_a_contract_knows_its_methods():
    loaded = contract(
        methods=[
            "Call Request Response",
            "Watch Request stream Response",
            "Chat stream Request stream Response",
        ]
    )
    shapes = {name: (info.kind, info.durable) for name, info in loaded.methods.items()}
    assert shapes == {
        f"{PACKAGE}.Service/Call": (fleet_pb2.METHOD_KIND_UNARY, True),
        f"{PACKAGE}.Service/Watch": (fleet_pb2.METHOD_KIND_SERVER_STREAMING, True),
        f"{PACKAGE}.Service/Chat": (fleet_pb2.METHOD_KIND_BIDI_STREAMING, False),
    }
    assert loaded.digest == descriptors.digest(loaded.file_descriptor_set)
    assert loaded.methods[METHOD].contract == loaded.digest


@pytest.mark.parametrize(
    ("file_descriptor_set", "methods", "words"),
    [
        (b"\xff\xff", [METHOD], "not a FileDescriptorSet"),
        (b"", [METHOD], f"hosts '{METHOD}', but its contract has no such method"),
        (file_set(file()), [f"{PACKAGE}.Service/Gone"], "Service/Gone"),
        (file_set(file()), [f"/{METHOD}"], "no such method"),
        (file_set(file()), [f"{PACKAGE}.Gone/Call"], "Gone/Call"),
        (file_set(file(imports=["gone.proto"])), [METHOD], "imports 'gone.proto'"),
        (bytes(module.MAX_CONTRACT_BYTES + 1), [METHOD], "8388609 bytes; the limit is 8388608"),
        (
            descriptors.file_descriptor_set([coordinator_pb2.DESCRIPTOR]),
            ["weft.v1.CoordinatorService/GetTask"],
            "the coordinator serves that itself",
        ),
        (
            file_set(file(package="grpc.health.v1")),
            ["grpc.health.v1.Service/Call"],
            "the coordinator serves that itself",
        ),
    ],
    ids=range(9),
)
def test_what_is_no_contract_is_refused(file_descriptor_set, methods, words):
    with pytest.raises(InvalidArgument, match=words) as raised:
        Contract.load(file_descriptor_set, methods)
    assert raised.value.reason_name == "CONTRACT_INVALID"


DEEP = {"Request": "M0 m = 1", **{f"M{i}": f"M{i + 1} m = 1" for i in range(3000)}, "M3000": ""}
# Every message refers to every other: paths through them are without number.
WIDE = {
    "Request": "M0 m = 1",
    **{f"M{i}": "; ".join(f"M{j} m{j} = {j + 1}" for j in range(60)) for i in range(60)},
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("messages", [DEEP, WIDE], ids=["deep", "wide"])
def test_messages_that_refer_to_many_others_are_no_burden(messages):
    registry = Contracts()
    registry.admit(contract(messages))
    registry.admit(contract({**messages, "More": ""}))
    info = registry.method(METHOD)
    info.check_request(b"\x0a\x02\x0a\x00")
    with pytest.raises(InvalidArgument):
        info.check_request(b"\x0a\x02\x0a\x01")


def test_the_descriptors_of_a_contract_may_be_any_bytes():
    """Seeded: whatever an agent sends becomes a contract or a typed error."""
    good = bytearray(
        file_set(file(messages={"Request": "required Sub sub = 1", "Sub": "map<string, int32> m = 1"}))
    )
    draw = random.Random(20)
    loaded, reasons = 0, set()
    for _ in range(20_000):
        bad = good.copy()
        for _ in range(draw.randint(1, 3)):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        try:
            Contract.load(bytes(bad), [METHOD])
            loaded += 1
        except InvalidArgument as error:
            reasons.add(error.reason_name)
    assert reasons == {"CONTRACT_INVALID"}
    assert loaded > 100


def test_two_contracts_with_different_standard_files_live_side_by_side():
    theirs = FileDescriptorProto.FromString(timestamp_pb2.DESCRIPTOR.serialized_pb)
    theirs.message_type[0].field.add(
        name="zone",
        number=3,
        type=FieldDescriptorProto.TYPE_STRING,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    ours = FileDescriptorProto.FromString(timestamp_pb2.DESCRIPTOR.serialized_pb)
    user = file(messages={"Request": ".google.protobuf.Timestamp at = 1"}, imports=[ours.name])
    old, new = (Contract.load(file_set(stamp, user), [METHOD]) for stamp in (ours, theirs))
    registry = Contracts()
    registry.admit(old)
    registry.admit(new)
    assert registry.method(METHOD).contract == new.digest
    at = new.methods[METHOD].request_class.DESCRIPTOR.fields_by_name["at"].message_type
    assert at is not None
    assert "zone" in at.fields_by_name


# -- payloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "payload", "words"),
    [
        ("int32 n = 1", b"", None),
        ("int32 n = 1", b"\x08\x05", None),
        ("int32 n = 1", b"\x10\x05", None),  # an unknown field: a newer caller's
        ("int32 n = 1", b"\x08", r"does not parse as t.v1.Request \(1 bytes\)"),
        ("int32 n = 1", b"\xff" * 20, "does not parse"),
        ("Request again = 1", b"\x0a\x05\x00", "does not parse"),
        ("required int32 n = 1", b"\x08\x05", None),
        ("required int32 n = 1", b"", r"t.v1.Request is missing required fields: n"),
        ("repeated Sub subs = 1", b"", None),
        ("repeated Sub subs = 1", b"\x0a\x02\x08\x01", None),
        ("repeated Sub subs = 1", b"\x0a\x00", r"required fields: subs\[0\].must"),
    ],
)
def test_a_payload_must_be_the_request(fields, payload, words):
    info = contract({"Request": fields, "Sub": "required int32 must = 1"}).methods[METHOD]
    if words is None:
        info.check_request(payload)
        return
    with pytest.raises(InvalidArgument, match=words) as raised:
        info.check_request(payload)
    assert raised.value.reason_name == "PAYLOAD_MALFORMED"
    assert raised.value.field == "payload"
    assert METHOD in str(raised.value)


# -- what is in force -----------------------------------------------------------------------------------------------

V1 = {"Request": "int32 a = 1"}
V2 = {"Request": "int32 a = 1; int32 b = 2"}
V3 = {"Request": "int64 a = 1; int32 b = 2; int32 c = 3"}
BROKEN = {"Request": "string a = 1"}
TWO_CALLS = ["Call Request Response", "Other Request Response"]
OTHER = f"{PACKAGE}.Service/Other"


def test_the_newest_compatible_contract_is_in_force():
    registry = Contracts()
    for version in (V1, V2, V3):
        newest = contract(version)
        assert registry.check(newest) == [METHOD]
        assert not registry.known(newest.digest)
        assert registry.admit(newest) == [METHOD]
        assert registry.known(newest.digest)
        assert registry.method(METHOD).contract == newest.digest
    assert [c.digest for c in registry.in_force()] == [newest.digest]


def test_an_older_contract_that_comes_back_displaces_nothing():
    registry = Contracts()
    registry.admit(contract(V1))
    registry.admit(contract(V2))
    assert registry.admit(contract(V1)) == []
    assert registry.method(METHOD).contract == contract(V2).digest


def test_a_known_contract_may_bring_further_methods():
    registry = Contracts()
    first = Contract.load(file_set(file(methods=TWO_CALLS)), [METHOD])
    registry.admit(first)
    known = registry.get(first.digest)
    assert known is not None
    assert registry.admit(known.hosting([METHOD, OTHER])) == [OTHER]
    assert [info.name for info in registry.methods()] == [METHOD, OTHER]
    with pytest.raises(InvalidArgument, match="Service/Gone"):
        known.hosting([f"{PACKAGE}.Service/Gone"])


def test_an_incompatible_contract_is_refused_and_changes_nothing():
    registry = Contracts()
    registry.admit(contract(V1))
    refused = contract(BROKEN, methods=TWO_CALLS)
    for attempt in (registry.check, registry.admit):
        with pytest.raises(
            FailedPrecondition, match=r"t\.v1\.Service/Call, field Request\.a .*string, was int32"
        ) as raised:
            attempt(refused)
        assert raised.value.reason_name == "CONTRACT_INCOMPATIBLE"
        assert raised.value.metadata == {"method": METHOD, "field": "Request.a"}
    assert not registry.known(refused.digest)
    assert registry.find(OTHER) is None
    assert registry.method(METHOD).contract == contract(V1).digest


def test_a_known_contract_that_has_become_incompatible_is_refused():
    registry = Contracts()
    registry.admit(contract(V1))
    registry.admit(contract({"Request": ""}))
    registry.admit(contract(BROKEN))
    with pytest.raises(FailedPrecondition, match=r"Request\.a"):
        registry.admit(contract(V1))
    assert registry.method(METHOD).contract == contract(BROKEN).digest


def test_methods_are_in_force_one_by_one():
    registry = Contracts()
    both, one = contract(V1, methods=TWO_CALLS), contract(V2)
    registry.admit(both)
    registry.admit(one)
    assert registry.method(METHOD).contract == one.digest
    assert registry.method(OTHER).contract == both.digest
    assert [c.digest for c in registry.in_force()] == [one.digest, both.digest]
    newest = registry.of_service(f"{PACKAGE}.Service")
    assert newest is not None
    assert newest.digest == one.digest
    assert registry.of_service("gone.Service") is None


def test_what_is_hosted():
    registry = Contracts()
    assert registry.services() == []
    registry.admit(contract(methods=TWO_CALLS))
    registry.admit(Contract.load(file_set(file(package="a.v1")), ["a.v1.Service/Call"]))
    assert registry.services() == ["a.v1.Service", f"{PACKAGE}.Service"]
    assert [info.name for info in registry.methods()] == ["a.v1.Service/Call", METHOD, OTHER]
    assert registry.find(METHOD) is registry.method(METHOD)
    assert registry.find("gone") is None


def test_an_unknown_method_is_named_with_those_near_it():
    registry = Contracts()
    with pytest.raises(NotFound, match="nothing is hosted yet"):
        registry.method(METHOD)
    registry.admit(contract())
    with pytest.raises(
        NotFound, match=rf"there is no method 't.v1.Service/Cal'; did you mean {METHOD}\?"
    ) as raised:
        registry.method("t.v1.Service/Cal")
    assert raised.value.reason_name == "METHOD_UNKNOWN"


def test_old_contracts_are_forgotten_past_a_bound(monkeypatch):
    monkeypatch.setattr(module, "MAX_SUPERSEDED", 2)
    registry = Contracts()
    versions = [contract({"Request": f"int32 f{i} = {i}"}) for i in range(1, 6)]
    for version in versions:
        registry.admit(version)
    assert [registry.known(version.digest) for version in versions] == [False, False, True, True, True]


def test_the_number_of_contracts_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_SUPERSEDED", 1)
    monkeypatch.setattr(module, "MAX_IN_FORCE", 2)
    registry = Contracts()
    hosted = [Contract.load(file_set(file(package=p)), [f"{p}.Service/Call"]) for p in ("a", "b", "c", "d")]
    for one in hosted[:3]:
        registry.admit(one)
    with pytest.raises(ResourceExhausted, match="the limit"):
        registry.admit(hosted[3])
    assert registry.admit(hosted[0]) == []
