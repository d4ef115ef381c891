"""What clients are told of a fleet by xDS, and when they are told it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as Packed

from weft.coordinator.doors.xds import resources
from weft.coordinator.doors.xds.callable_services import agent_facts, callable_service, is_undialled
from weft.coordinator.doors.xds.discovery_request import MAX_NAMES, DiscoveryAsked, discovery_asked
from weft.coordinator.doors.xds.mesh_versions import MeshVersions
from weft.coordinator.doors.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from weft.coordinator.doors.xds.subscriptions import ResourceSubscriptions
from weft.rpc.errors import InvalidArgument
from weft.v1 import fleet_pb2
from weft.xds import xds_pb2 as pb

SERVICE = "acme.v1.Greeter"
GREET, BYE = f"{SERVICE}/Greet", f"{SERVICE}/Bye"
ACTIVE, SUSPECT = fleet_pb2.AGENT_STATE_ACTIVE, fleet_pb2.AGENT_STATE_SUSPECT
DRAINING = fleet_pb2.AGENT_STATE_DRAINING


def agent(number: int, *methods: str, state: int = ACTIVE, **fields: Any) -> fleet_pb2.Agent:
    given = {"slots": 4, "advertised_address": f"10.0.0.{number}:7"} | fields
    hosted = [fleet_pb2.HostedMethod(name=name) for name in methods or (GREET, BYE)]
    return fleet_pb2.Agent(id=f"a{number}", state=state, methods=hosted, **given)  # type: ignore[arg-type]


def versions(**settings: bool) -> MeshVersions:
    return MeshVersions(
        lambda method: method == BYE, shows_certificate=settings.get("shows_certificate", False)
    )


def hosts(*agents: fleet_pb2.Agent, method: str = "") -> list[str]:
    service = callable_service(SERVICE, map(agent_facts, agents), lambda _: False)
    assert service is not None
    return [port.host for port in (service.methods[method].ports if method else service.ports)]


def test_agents_that_take_calls_are_told() -> None:
    left = [
        agent(2, state=DRAINING),
        agent(3, state=SUSPECT),
        agent(4, state=fleet_pb2.AGENT_STATE_PAUSED),
        agent(5, direct_state=fleet_pb2.DIRECT_STATE_UNREACHABLE),
        agent(6, advertised_address=""),
    ]
    assert hosts(agent(1), *left) == ["10.0.0.1"]
    assert hosts(*left) == ["10.0.0.3"], "all sessions have broken at once: their ports may be there"
    assert hosts(agent(2, state=DRAINING)) == [], "its service is known all the same"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("[::1]:80", "::1"),
        ("127.0.0.1:65535", "127.0.0.1"),
        *((each, "") for each in ("agent-1:7", "unix:/tmp/x", "1.2.3.4:0", "1.2.3.4:x", "0.0.0.0:7", ":7")),
    ],
)
def test_an_address_that_clients_would_not_take_is_left_out(address: str, host: str) -> None:
    """They refuse a whole list for one of these."""
    given = agent(1, advertised_address=address)
    assert hosts(given) == ([host] if host else [])
    assert is_undialled(given) is not bool(host)


def test_an_address_stands_once() -> None:
    assert hosts(agent(1), agent(2, advertised_address="10.0.0.1:7")) == ["10.0.0.1"]


def test_agents_without_tls_are_left_out_beside_those_with_it() -> None:
    assert hosts(agent(1), agent(2, tls_name="two.mesh")) == ["10.0.0.2"]


def test_a_method_of_some_agents_has_its_own_cluster() -> None:
    made = versions()
    assert made.take([agent(1), agent(2, GREET)])
    assert list(made.latest.by_type[CLUSTER]) == [SERVICE, BYE]
    (told,) = read(made.latest.by_type[ROUTES][SERVICE], pb.RouteConfiguration).virtual_hosts
    assert [
        (each.match.path, each.route.cluster, each.route.retry_policy.retry_on) for each in told.routes
    ] == [
        (f"/{BYE}", BYE, "unavailable"),
        ("", SERVICE, ""),
    ]
    down = agent(2)
    down.methods[0].unavailable = True
    assert made.take([agent(1), down])
    assert list(made.latest.by_type[CLUSTER]) == [SERVICE, GREET]


def test_localities_weigh_by_slots() -> None:
    made = versions()
    made.take([agent(1), agent(2), agent(3, slots=12), agent(4, slots=2**31)])
    told = read(made.latest.by_type[ENDPOINTS][SERVICE], pb.ClusterLoadAssignment)
    assert [
        (each.locality.sub_zone, each.load_balancing_weight.value, len(each.lb_endpoints))
        for each in told.endpoints
    ] == [("slots-4", 8, 2), ("slots-12", 12, 1), ("slots-65535", 65535, 1)]


def test_tls_is_told_with_the_names_of_certificates() -> None:
    for shows in (False, True):
        made = versions(shows_certificate=shows)
        made.take([agent(1, tls_name="one.mesh"), agent(2, tls_name="two.mesh")])
        socket = read(made.latest.by_type[CLUSTER][SERVICE], pb.Cluster).transport_socket
        context = pb.UpstreamTlsContext.FromString(socket.typed_config.value).common_tls_context
        names = [each.exact for each in context.validation_context.match_subject_alt_names]
        assert names == ["one.mesh", "two.mesh"]
        assert context.validation_context.ca_certificate_provider_instance.instance_name == "weft"
        assert context.HasField("tls_certificate_provider_instance") is shows


def test_what_clients_are_not_told_is_no_new_version() -> None:
    made = versions()
    made.take([agent(1), agent(2, "other.v1.Other/Do")])
    first = made.latest
    assert not made.take([agent(1, used_slots=3, failing=True), agent(2, "other.v1.Other/Do")])
    assert made.latest is first
    assert made.take([agent(1), agent(2, "other.v1.Other/Do", slots=5)])
    assert made.latest.version != first.version
    for type_url, table in first.by_type.items():
        assert made.latest.by_type[type_url][SERVICE] is table[SERVICE], "it is not made anew"


# -- a stream ----------------------------------------------------------------------------------------------------------


def ask(type_url: str, *names: str, nonce: str = "", rejected: str = "") -> DiscoveryAsked:
    return DiscoveryAsked(type_url, frozenset(names), nonce, "", rejected, "")


class Stream:
    def __init__(self, *unseen: str) -> None:
        self.fleet = versions()
        self.fleet.take([agent(1), agent(2, "other.v1.Other/Do")])
        self.subscriptions = ResourceSubscriptions(lambda service: service not in unseen)

    def answers(self) -> list[pb.DiscoveryResponse]:
        found = []
        while (raw := self.subscriptions.next(self.fleet.latest)) is not None:
            found.append(pb.DiscoveryResponse.FromString(raw))
        return found

    def told(self) -> list[tuple[str, list[str]]]:
        """The types of the answers, and the names in them."""
        return [
            (each.type_url, [name_of(resource) for resource in each.resources]) for each in self.answers()
        ]


def read(packed: bytes, kind: type[Any]) -> Any:
    return kind.FromString(Packed.FromString(packed).value)


def name_of(resource: Packed) -> str:
    # The name is the first field of all of them.
    found: str = pb.RouteConfiguration.FromString(resource.value).name
    return found


def test_each_type_is_told_once_for_each_change() -> None:
    stream = Stream()
    for type_url in (LISTENER, ROUTES, CLUSTER, ENDPOINTS):
        assert stream.subscriptions.ask(ask(type_url, SERVICE))
    assert stream.told() == [(each, [SERVICE]) for each in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)]
    assert stream.told() == []
    stream.fleet.take([agent(1), agent(3), agent(2, "other.v1.Other/Do")])
    assert stream.told() == [(ENDPOINTS, [SERVICE])]
    stream.fleet.take([agent(2, "other.v1.Other/Do")])
    assert stream.told() == [(CLUSTER, []), (LISTENER, [])], "what is left out is gone"
    stream.fleet.take([agent(1)])
    assert stream.told() == [(each, [SERVICE]) for each in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)]


def test_a_slow_client_gets_the_newest_version_alone() -> None:
    stream = Stream()
    stream.subscriptions.ask(ask(ENDPOINTS, SERVICE))
    for number in range(3, 9):
        stream.fleet.take([agent(1), agent(number)])
    (answer,) = stream.answers()
    assert answer.version_info == stream.fleet.latest.version


def test_a_listener_that_is_not_there_is_answered_at_once_and_told_when_it_is() -> None:
    stream = Stream()
    stream.subscriptions.ask(ask(LISTENER, "new.v1.New"))
    stream.subscriptions.ask(ask(ENDPOINTS, "new.v1.New"))
    assert stream.told() == [(LISTENER, [])]
    stream.fleet.take([agent(1, "new.v1.New/Do")])
    assert stream.told() == [(ENDPOINTS, ["new.v1.New"]), (LISTENER, ["new.v1.New"])]


def test_acknowledged_rejected_and_late_requests() -> None:
    stream = Stream()
    stream.subscriptions.ask(ask(CLUSTER, SERVICE))
    (answer,) = stream.answers()
    assert stream.subscriptions.ask(ask(CLUSTER, SERVICE, nonce=answer.nonce))
    assert not stream.subscriptions.ask(ask(CLUSTER, SERVICE, nonce=answer.nonce, rejected="no"))
    assert stream.told() == [], "the same is not sent again"
    assert stream.subscriptions.ask(ask(CLUSTER, SERVICE, nonce="0", rejected="no")), (
        "that is about an earlier one"
    )
    assert stream.told() == []


def test_a_name_that_is_dropped_and_asked_for_again_meanwhile_is_told_again() -> None:
    """The client forgets what it knew. Its requests and the answer may cross: it reads that when it does not want the name."""
    stream = Stream()
    stream.subscriptions.ask(ask(ENDPOINTS, SERVICE))
    (first,) = stream.answers()
    stream.fleet.take([agent(1), agent(3)])
    (second,) = stream.answers()
    stream.subscriptions.ask(ask(ENDPOINTS, nonce=first.nonce))
    stream.subscriptions.ask(ask(ENDPOINTS, SERVICE, nonce=second.nonce))
    assert stream.told() == [(ENDPOINTS, [SERVICE])]


def test_a_name_that_is_asked_for_again_is_told_again() -> None:
    stream = Stream()
    for names in ([SERVICE], [], [SERVICE]):
        stream.subscriptions.ask(ask(ENDPOINTS, *names))
        assert stream.told() == [(ENDPOINTS, names)] * bool(names)


def test_without_names_all_are_asked_for() -> None:
    for names in ((), ("*",)):
        stream = Stream()
        stream.subscriptions.ask(ask(CLUSTER, *names))
        (answer,) = stream.answers()
        assert [name_of(each) for each in answer.resources] == [SERVICE, "other.v1.Other"]
        stream.subscriptions.ask(ask(CLUSTER, *names, nonce=answer.nonce))
        assert stream.told() == []
        stream.subscriptions.ask(ask(CLUSTER, SERVICE, nonce=answer.nonce))
        assert stream.told() == [(CLUSTER, [SERVICE])]
    stream = Stream()
    stream.subscriptions.ask(ask(ENDPOINTS))
    stream.subscriptions.ask(ask("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "x"))
    assert stream.told() == []


def test_what_a_caller_may_not_call_is_not_there() -> None:
    stream = Stream(SERVICE)
    stream.subscriptions.ask(ask(LISTENER, SERVICE, "other.v1.Other"))
    stream.subscriptions.ask(ask(ENDPOINTS, SERVICE))
    assert stream.told() == [(LISTENER, ["other.v1.Other"])]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        pb.DiscoveryRequest(resource_names=["x"] * (MAX_NAMES + 1)).SerializeToString(),
        pb.DiscoveryRequest(resource_names=["x" * 513]).SerializeToString(),
    ],
    ids=["garbage", "too many", "too long"],
)
def test_a_request_is_bounded(raw: bytes) -> None:
    with pytest.raises(InvalidArgument):
        discovery_asked(raw)


def test_a_request_names_a_namespace() -> None:
    request = pb.DiscoveryRequest(type_url=LISTENER)
    request.node.metadata["weft-namespace"] = "team-a"
    assert discovery_asked(request.SerializeToString()).namespace == "team-a"
    for ill in ("Not A Name", 7, ""):
        request.node.metadata["weft-namespace"] = ill
        with pytest.raises(InvalidArgument, match="weft-namespace"):
            discovery_asked(request.SerializeToString())


def test_shared_bytes_and_a_nonce_are_one_message() -> None:
    body = resources.response("v", LISTENER, [resources.listener(SERVICE)])
    told = pb.DiscoveryResponse.FromString(resources.with_nonce(body, "7"))
    assert (told.version_info, told.nonce, name_of(told.resources[0])) == ("v", "7", SERVICE)
