"""The route table says what it was made from."""

from __future__ import annotations

import math

import pytest
import yaml
from support.gateways import plan_for

from detector_grpc.gateway.envoy import to_yaml
from detector_grpc.gateway.routes import route_table, routed
from detector_grpc.gateway.traffic import Traffic

PLAN = plan_for(["127.0.0.1:50051"])


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic({"v1": 80, "v2": 20}),
        Traffic({"v2": 1}),
        Traffic({"v1": 1, "v2": 1}),
        Traffic({"v1": 1, "v2": 3}, {"v2": 0.25}),
        Traffic({"v1": 1, "v2": 999_999}),
        Traffic({}),
    ],
)
def test_the_shares_can_be_read_from_the_file(traffic: Traffic) -> None:
    table = yaml.safe_load(to_yaml(route_table(PLAN, traffic)))

    assert routed(table["resources"][0]) == traffic


def test_weights_that_somebody_has_written_into_the_file_are_read_as_they_are() -> None:
    written = to_yaml(route_table(PLAN, Traffic({"v1": 60, "v2": 40}))).decode()
    edited = yaml.safe_load(written.replace("weight: 59999", "weight: 3").replace("weight: 40000", "weight: 1"))

    assert routed(edited["resources"][0]) == Traffic({"v1": 3, "v2": 1})


@pytest.mark.parametrize(
    "weights", [{"v1": 80, "v2": 20}, {"v1": 500_000, "v2": 500_000}, {"v1": 1}, {"v1": 1, "v2": 1}]
)
def test_whether_a_call_is_copied_says_nothing_of_the_version_that_answers(weights: dict[str, int]) -> None:
    # Envoy takes one random number modulo both; the remainders are independent if they have no common divisor.
    (resource,) = route_table(PLAN, Traffic(weights, {"v2": 0.00005}))["resources"]
    shared = [each for each in resource["virtual_hosts"][0]["routes"] if "weighted_clusters" in each.get("route", {})]
    (fraction,) = [each["match"]["runtime_fraction"] for each in shared if "runtime_fraction" in each["match"]]
    assert fraction["default_value"] == {"numerator": 50, "denominator": "MILLION"}
    for route in shared:
        arms = {each["name"]: each["weight"] for each in route["route"]["weighted_clusters"]["clusters"]}
        total = sum(arms.values())
        assert math.gcd(total, 1_000_000) == 1
        for version, weight in weights.items():
            wanted = weight / sum(weights.values())
            assert arms[PLAN.cluster(version)] / total == pytest.approx(wanted, abs=0.0005)


def test_another_table_has_another_version() -> None:
    tables = [route_table(PLAN, Traffic({"v1": weight})) for weight in (1, 1, 2)]

    assert tables[0]["version_info"] == tables[1]["version_info"] != tables[2]["version_info"]
