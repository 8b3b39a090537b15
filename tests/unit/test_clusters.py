"""Clusters and endpoints: what of a pod reaches Envoy."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment

from xds.gds.model import Endpoint, Pod
from xds.resources.clusters import cluster, load_assignment

A = Endpoint("10.0.0.1", 80, zone="a", weight=3)
B = Endpoint("10.0.0.2", 80, zone="b")
C = Endpoint("10.0.0.3", 80, zone="a")


def test_a_pod_is_an_eds_cluster_with_its_own_connection_limit() -> None:
    made = Cluster.parse(bytes(cluster(Pod("pod1", max_connections=77), timedelta(seconds=1))))
    assert made.name == "pod1"
    assert made.type == ClusterDiscoveryType.EDS
    assert made.circuit_breakers is not None
    assert [limit.max_connections for limit in made.circuit_breakers.thresholds] == [77]


def test_endpoints_are_grouped_by_zone_and_keep_their_weights() -> None:
    made = ClusterLoadAssignment.parse(bytes(load_assignment(Pod("pod1", "dc1", (A, B, C)))))
    assert made.cluster_name == "pod1"
    seen = {group.locality.zone: group for group in made.endpoints if group.locality is not None}
    assert sorted(seen) == ["a", "b"]
    assert [e.load_balancing_weight for e in seen["a"].lb_endpoints] == [3, 1]
    assert seen["a"].load_balancing_weight == 4


def test_the_order_of_endpoints_in_gds_does_not_change_the_bytes() -> None:
    assert bytes(load_assignment(Pod("pod1", "", (A, B, C)))) == bytes(load_assignment(Pod("pod1", "", (C, B, A))))


def test_a_pod_without_endpoints_is_an_empty_assignment_of_its_name() -> None:
    made = load_assignment(Pod("pod1"))
    assert (made.cluster_name, made.endpoints) == ("pod1", [])
