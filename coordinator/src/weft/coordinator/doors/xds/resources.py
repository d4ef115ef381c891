"""Makes the xDS resources of a service: pure, each a serialized `google.protobuf.Any`.

    LDS acme.v1.Greeter ─► RDS acme.v1.Greeter ─┬─ all methods ─► CDS, EDS acme.v1.Greeter
                                                └─ a method that other agents host ─► CDS, EDS acme.v1.Greeter/Greet

Agents with equally many slots are a locality, whose weight is the sum of their slots: so calls follow capacity from the first one on, in every
language. Within it, gRPC's weighted round robin follows the load that agents report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.coordinator.doors.xds.callable_services import CallablePort, CallableService
from weft.xds import xds_pb2 as pb

_PREFIX = "type.googleapis.com/"
LISTENER = f"{_PREFIX}envoy.config.listener.v3.Listener"
ROUTES = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"
CLUSTER = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_POLICIES = "envoy.extensions.load_balancing_policies"
_BY_LOCALITY = f"{_POLICIES}.wrr_locality.v3.WrrLocality"
_BY_LOAD = f"{_POLICIES}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
_IN_TURN = f"{_POLICIES}.round_robin.v3.RoundRobin"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

# The instance of a certificate provider that a client's bootstrap file must define when agents have TLS.
PROVIDER = "weft"
# envoy.config.core.v3: ApiVersion.V3, HealthStatus.HEALTHY; envoy.config.cluster.v3.Cluster.EDS.
_V3, _HEALTHY, _EDS = 2, 1, 3
# Agents bound what they take. A client's own bound, 1024 calls at a time, would fail calls that they have room for.
_MOST_CALLS = 2**31
# As weft's own clients have it (gRFC A50), but the other rule alone: this one would also count a handler's own NOT_FOUND.
_OUTLIERS = pb.OutlierDetection(
    interval=Duration(seconds=10),
    base_ejection_time=Duration(seconds=30),
    max_ejection_time=Duration(seconds=300),
    max_ejection_percent=UInt32Value(value=10),
    enforcing_success_rate=UInt32Value(value=100),
    success_rate_minimum_hosts=UInt32Value(value=5),
    success_rate_request_volume=UInt32Value(value=100),
    success_rate_stdev_factor=UInt32Value(value=1900),
    enforcing_failure_percentage=UInt32Value(value=0),
)
_RETRIES = 2


def listener(service: str) -> bytes:
    """The listener of a service: what `xds:///` names."""
    http = pb.HttpConnectionManager(
        rds=pb.Rds(config_source=_ads(), route_config_name=service),
        http_filters=[pb.HttpFilter(name="router", typed_config=_any(_ROUTER, pb.Defaults()))],
    )
    return _packed(
        LISTENER, pb.Listener(name=service, api_listener=pb.ApiListener(api_listener=_any(_HTTP, http)))
    )


def routes(name: str, service: CallableService) -> bytes:
    """The routes of a service: a method with hosts of its own goes to its own cluster, and one that may run twice is retried."""
    own = set(_own(service))
    again = pb.RetryPolicy(retry_on="unavailable", num_retries=UInt32Value(value=_RETRIES))
    found = [
        pb.Route(
            match=pb.RouteMatch(path=f"/{method}"),
            route=pb.RouteAction(
                cluster=method if method in own else name, retry_policy=again if each.repeatable else None
            ),
        )
        for method, each in service.methods.items()
        if each.repeatable or method in own
    ]
    found.append(pb.Route(match=pb.RouteMatch(prefix=""), route=pb.RouteAction(cluster=name)))
    host = pb.VirtualHost(name=name, domains=["*"], routes=found)
    return _packed(ROUTES, pb.RouteConfiguration(name=name, virtual_hosts=[host]))


def clusters(name: str, service: CallableService) -> dict[str, Sequence[CallablePort]]:
    """The clusters of a service, each with its endpoints: its own, and those of methods that not all of its ports take calls of."""
    return {name: service.ports, **{method: service.methods[method].ports for method in _own(service)}}


def _own(service: CallableService) -> list[str]:
    return [name for name, method in service.methods.items() if method.ports != service.ports]


def cluster(name: str, ports: Sequence[CallablePort], *, shows_certificate: bool) -> bytes:
    """A cluster.

    Args:
        ports: its endpoints.
        shows_certificate: clients show agents a certificate, if these have TLS.
    """
    by_load = [_policy("by load", _BY_LOAD, pb.Defaults()), _policy("in turn", _IN_TURN, pb.Defaults())]
    by_locality = pb.WrrLocality(endpoint_picking_policy=pb.LoadBalancingPolicy(policies=by_load))
    made = pb.Cluster(
        name=name,
        type=_EDS,
        eds_cluster_config=pb.EdsClusterConfig(eds_config=_ads()),
        circuit_breakers=pb.CircuitBreakers(
            thresholds=[pb.Thresholds(max_requests=UInt32Value(value=_MOST_CALLS))]
        ),
        outlier_detection=_OUTLIERS,
        load_balancing_policy=pb.LoadBalancingPolicy(
            policies=[_policy("by slots", _BY_LOCALITY, by_locality)]
        ),
    )
    if names := sorted({port.tls_name for port in ports if port.tls_name}):
        made.transport_socket.CopyFrom(_tls(names, shows_certificate=shows_certificate))
    return _packed(CLUSTER, made)


def endpoints(name: str, ports: Sequence[CallablePort]) -> bytes:
    """The endpoints of a cluster."""
    by_slots: dict[int, list[CallablePort]] = defaultdict(list)
    for port in ports:
        by_slots[port.slots].append(port)
    localities = [
        pb.LocalityLbEndpoints(
            locality=pb.Locality(sub_zone=f"slots-{slots}"),
            lb_endpoints=[_endpoint(port) for port in each],
            load_balancing_weight=UInt32Value(value=slots * len(each)),
        )
        for slots, each in sorted(by_slots.items())
    ]
    return _packed(ENDPOINTS, pb.ClusterLoadAssignment(cluster_name=name, endpoints=localities))


def response(version: str, type_url: str, resources: Iterable[bytes]) -> bytes:
    """A serialized `DiscoveryResponse` without its nonce: `with_nonce` adds it."""
    parsed = [any_pb2.Any.FromString(each) for each in resources]
    return pb.DiscoveryResponse(version_info=version, type_url=type_url, resources=parsed).SerializeToString()


def with_nonce(body: bytes, nonce: str) -> bytes:
    """The response of `response`, with its nonce. What is shared by all streams is not made anew."""
    return body + pb.DiscoveryResponse(nonce=nonce).SerializeToString()


def _endpoint(port: CallablePort) -> pb.LbEndpoint:
    address = pb.Address(socket_address=pb.SocketAddress(address=port.host, port_value=port.number))
    return pb.LbEndpoint(
        endpoint=pb.Endpoint(address=address),
        health_status=_HEALTHY,
        load_balancing_weight=UInt32Value(value=port.slots),
    )


def _tls(names: Sequence[str], *, shows_certificate: bool) -> pb.TransportSocket:
    instance = pb.CertificateProviderInstance(instance_name=PROVIDER)
    checks = pb.CertificateValidationContext(
        ca_certificate_provider_instance=instance,
        match_subject_alt_names=[pb.StringMatcher(exact=name) for name in names],
    )
    context = pb.CommonTlsContext(validation_context=checks)
    if shows_certificate:
        context.tls_certificate_provider_instance.CopyFrom(instance)
    return pb.TransportSocket(
        name="envoy.transport_sockets.tls",
        typed_config=_any(_TLS, pb.UpstreamTlsContext(common_tls_context=context)),
    )


def _ads() -> pb.ConfigSource:
    return pb.ConfigSource(ads=pb.AggregatedConfigSource(), resource_api_version=_V3)


def _policy(name: str, kind: str, config: Message) -> pb.Policy:
    return pb.Policy(
        typed_extension_config=pb.TypedExtensionConfig(name=name, typed_config=_any(kind, config))
    )


def _any(kind: str, message: Message) -> any_pb2.Any:
    return any_pb2.Any(type_url=f"{_PREFIX}{kind}", value=_bytes(message))


def _packed(type_url: str, message: Message) -> bytes:
    return _bytes(any_pb2.Any(type_url=type_url, value=_bytes(message)))


def _bytes(message: Any) -> bytes:
    # The same content is the same bytes: what has not changed is not told again.
    made: bytes = message.SerializeToString(deterministic=True)
    return made
