"""Sets of files: the same bytes from any pool and order, imports first; pools refuse what does not hold together."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from probe.v1 import probe_pb2
from tests.support.schema import file
from weft.rpc.contracts import descriptors
from weft.rpc.errors import InvalidArgument
from weft.v1 import coordinator_pb2, fleet_pb2


def pool_of(*files: FileDescriptorProto) -> DescriptorPool:
    return descriptors.build_pool(files)


def names(file_set: bytes) -> list[str]:
    return [f.name for f in FileDescriptorSet.FromString(file_set).file]


def test_imports_come_first_and_each_once():
    found = names(descriptors.file_descriptor_set([coordinator_pb2.DESCRIPTOR]))
    assert len(found) == len(set(found))
    for needed, needing in [
        ("google/protobuf/any.proto", "google/rpc/status.proto"),
        ("google/rpc/status.proto", "weft/v1/task.proto"),
        ("weft/v1/task.proto", "weft/v1/coordinator.proto"),
    ]:
        assert found.index(needed) < found.index(needing)


def test_the_order_of_services_does_not_matter():
    files = [probe_pb2.DESCRIPTOR, coordinator_pb2.DESCRIPTOR]
    first = descriptors.file_descriptor_set(files)
    assert descriptors.file_descriptor_set(reversed(files)) == first
    assert descriptors.file_descriptor_set([*files, *files]) == first
    assert descriptors.digest(first) == descriptors.digest(descriptors.file_descriptor_set(files))


def test_the_pool_does_not_matter():
    original = descriptors.file_descriptor_set([coordinator_pb2.DESCRIPTOR])
    pool = pool_of(*FileDescriptorSet.FromString(original).file)
    copy = pool.FindServiceByName("weft.v1.CoordinatorService").file
    assert descriptors.file_descriptor_set([copy]) == original


def test_a_diamond_of_imports_is_the_same_in_any_order_of_roots():
    base = file("base.proto", methods=())
    left = file("left.proto", package="left.v1", imports=["base.proto"], methods=())
    right = file("right.proto", package="right.v1", imports=["base.proto"], methods=())
    top = file("top.proto", package="top.v1", imports=["right.proto", "left.proto"])
    pool = pool_of(top, right, left, base)
    roots = [pool.FindFileByName(name) for name in ("left.proto", "top.proto", "right.proto")]
    assert names(descriptors.file_descriptor_set(roots)) == [
        "base.proto",
        "left.proto",
        "right.proto",
        "top.proto",
    ]
    assert descriptors.file_descriptor_set(roots[::-1]) == descriptors.file_descriptor_set(roots)


def test_a_long_chain_of_imports_is_no_recursion():
    files = [file("0.proto", package="p0", methods=())]
    files += [
        file(f"{i}.proto", package=f"p{i}", imports=[f"{i - 1}.proto"], methods=()) for i in range(1, 3000)
    ]
    pool = pool_of(*reversed(files))
    assert len(names(descriptors.file_descriptor_set([pool.FindFileByName("2999.proto")]))) == 3000


def test_two_pools_with_different_files_of_one_name_are_refused():
    one = pool_of(file("a.proto")).FindFileByName("a.proto")
    same = pool_of(file("a.proto")).FindFileByName("a.proto")
    other = pool_of(file("a.proto", {"More": ""})).FindFileByName("a.proto")
    assert names(descriptors.file_descriptor_set([one, same])) == ["a.proto"]
    with pytest.raises(InvalidArgument, match=r"two different files are named a\.proto"):
        descriptors.file_descriptor_set([one, other])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([file(imports=["gone.proto"])], "'t.proto' imports 'gone.proto', which is not in the set"),
        (
            [
                file("a.proto", imports=["b.proto"], package="a"),
                file("b.proto", imports=["a.proto"], package="b"),
            ],
            "import each other in a circle",
        ),
        ([file(imports=["t.proto"])], "circle"),
        ([file("a.proto"), file("a.proto", {"More": ""})], "two different files are named 'a.proto'"),
        ([file("a.proto"), file("b.proto")], "duplicate"),
        ([file(messages={"Request": "Missing m = 1"})], "'t.proto' is not a valid file: .*Missing"),
        ([file(messages={"Request": "int32 a = 1; int32 b = 1"})], "not a valid file"),
        ([FileDescriptorProto(name="x.proto", syntax="proto9")], "not a valid file"),
        ([FileDescriptorProto.FromString(b"\x0a\x01\xff"), file()], "name is not UTF-8"),
        ([FileDescriptorProto.FromString(b"\x0a\x01a\x1a\x01\xff"), file()], "name is not UTF-8"),
    ],
)
def test_a_pool_refuses(files, words):
    with pytest.raises(InvalidArgument, match=words) as raised:
        descriptors.build_pool(files)
    assert raised.value.reason_name == "CONTRACT_INVALID"


def test_a_pool_may_hold_other_versions_of_standard_files():
    changed = FileDescriptorProto.FromString(timestamp_pb2.DESCRIPTOR.serialized_pb)
    changed.message_type[0].field.add(
        name="zone",
        number=3,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
    )
    pool = pool_of(changed)
    assert "zone" in pool.FindMessageTypeByName("google.protobuf.Timestamp").fields_by_name
    assert "zone" not in timestamp_pb2.Timestamp.DESCRIPTOR.fields_by_name


def test_what_a_method_is():
    service = probe_pb2.DESCRIPTOR.services_by_name["ProbeService"]
    kinds = {descriptors.method_name(m): descriptors.method_kind(m) for m in service.methods}
    assert kinds["probe.v1.ProbeService/Call"] == fleet_pb2.METHOD_KIND_UNARY
    assert kinds["probe.v1.ProbeService/Stream"] == fleet_pb2.METHOD_KIND_SERVER_STREAMING
    assert kinds["probe.v1.ProbeService/Collect"] == fleet_pb2.METHOD_KIND_CLIENT_STREAMING
    assert kinds["probe.v1.ProbeService/Chat"] == fleet_pb2.METHOD_KIND_BIDI_STREAMING


@pytest.mark.parametrize(
    "name", ["", "/", "t.v1.Service", "t.v1.Service.Call", "/t.v1.Service/Call", "t.v1.Service/call"]
)
def test_a_method_is_found_by_its_exact_name_only(name):
    pool = pool_of(file())
    assert descriptors.find_method(pool, "t.v1.Service/Call") is not None
    assert descriptors.find_method(pool, name) is None
