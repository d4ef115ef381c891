"""Reads a request of a discovery stream. Pure.

State-of-the-world xDS: a request names all resources of a type that its client wants from now on, and says what became of the last answer.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError

from weft.rpc import refusals
from weft.rpc.security.namespace_names import is_name
from weft.xds import xds_pb2 as pb

# Most names that a stream may ask for of each type, and characters of one.
MAX_NAMES = 4096
MAX_NAME_CHARS = 512
# In the metadata of the node, as a client's bootstrap file gives it.
NAMESPACE_KEY = "weft-namespace"
_TOLD_CHARS = 512


class DiscoveryAsked(NamedTuple):
    """A request.

    Attributes:
        names: of the resources that the client wants; "*": all.
        nonce: of the answer that this is about; empty: it is about none.
        version: of the resources that the client has; empty: it has none.
        rejected: why it has not taken that answer; empty: it has.
        namespace: by its node; empty: the default one. Only the first request of a stream needs to have it.
    """

    type_url: str
    names: frozenset[str]
    nonce: str
    version: str
    rejected: str
    namespace: str


def discovery_asked(raw: bytes) -> DiscoveryAsked:
    """
    Raises:
        InvalidArgument: it does not parse, or asks for too much; INVALID_FIELD, PAYLOAD_MALFORMED.
    """
    try:
        request = pb.DiscoveryRequest.FromString(raw)
    except DecodeError as error:
        raise refusals.payload_malformed(f"the request does not parse: {error}") from None
    names = request.resource_names
    if len(names) > MAX_NAMES or any(len(name) > MAX_NAME_CHARS for name in names):
        raise refusals.invalid_field(
            f"a stream asks for at most {MAX_NAMES} names of {MAX_NAME_CHARS} characters of each type",
            field="resource_names",
        )
    rejected = ""
    if request.HasField("error_detail"):
        rejected = request.error_detail.message[:_TOLD_CHARS] or f"code {request.error_detail.code}"
    return DiscoveryAsked(
        request.type_url[:MAX_NAME_CHARS],
        frozenset(names),
        request.response_nonce,
        request.version_info,
        rejected,
        _namespace(request),
    )


def _namespace(request: pb.DiscoveryRequest) -> str:
    given = request.node.metadata.fields.get(NAMESPACE_KEY)
    name = "" if given is None else given.string_value
    if given is not None and not is_name(name):
        raise refusals.invalid_field(
            f"{NAMESPACE_KEY} in the node's metadata is no name of a namespace: {name[:128]!r}",
            field="node.metadata",
        )
    return name
