"""Contracts with rules of `buf.validate`, compiled from .proto text by protoc."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc_tools
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_tools import protoc

from tests.support.schema import METHOD, PACKAGE
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.contracts.method_info import MethodInfo
from weft.rpc.contracts import descriptors

ROOT = Path(__file__).resolve().parents[2]
RULES_FILE = "buf/validate/validate.proto"
_WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
_HEAD = f"""
syntax = "proto3";
package {PACKAGE};
import "{RULES_FILE}";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "weft/v1/options.proto";
"""


def compiled(files: Mapping[str, str], *, rules_from: Path = ROOT / "third_party/protovalidate") -> Any:
    """The FileDescriptorSet of .proto files, with all imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        out = folder / "set"
        places = (folder, rules_from, ROOT / "protos", _WELL_KNOWN)
        code = protoc.main(
            ["protoc", *(f"-I{each}" for each in places), "--include_imports", f"-o{out}", *files]
        )
        assert code == 0, files
        return descriptors.PlainFileSet.FromString(out.read_bytes())


def ruled_set(
    body: str, *, options: str = "", response: str = "message Response {}", stream: bool = False, **more: Any
) -> Any:
    """The files of a service with one method `Call`; `body` has its message `Request`."""
    returns = "stream Response" if stream else "Response"
    service = f"service Service {{ rpc Call(Request) returns ({returns}) {{ {options} }} }}"
    return compiled({"t.proto": f"{_HEAD}\n{body}\n{response}\n{service}"}, **more)


def ruled_pool(body: str, **more: Any) -> DescriptorPool:
    return descriptors.build_pool(ruled_set(body, **more).file)


def message_class(pool: DescriptorPool, name: str = "Request") -> type[Message]:
    return descriptors.message_class(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def loaded(files: Any) -> MethodInfo:
    """The method of a contract of these files, as a coordinator knows it."""
    return Contract.load(files.SerializeToString(deterministic=True), [METHOD]).methods[METHOD]


def ruled_method(body: str, **more: Any) -> MethodInfo:
    return loaded(ruled_set(body, **more))
