"""The route table says what it was made from."""

from __future__ import annotations

import pytest
import yaml
from support.gateways import plan_for

from detector_grpc.gateway.envoy import to_yaml
from detector_grpc.gateway.routes import route_table, routed
from detector_grpc.gateway.traffic import Traffic

PLAN = plan_for(["127.0.0.1:50051"])


@pytest.mark.parametrize(
    "traffic",
    [Traffic({"v1": 80, "v2": 20}), Traffic({"v2": 1}), Traffic({"v1": 1, "v2": 3}, {"v2": 0.25}), Traffic({})],
)
def test_the_shares_can_be_read_from_the_file(traffic: Traffic) -> None:
    table = yaml.safe_load(to_yaml(route_table(PLAN, traffic)))

    assert routed(table["resources"][0]) == traffic


def test_another_table_has_another_version() -> None:
    tables = [route_table(PLAN, Traffic({"v1": weight})) for weight in (1, 1, 2)]

    assert tables[0]["version_info"] == tables[1]["version_info"] != tables[2]["version_info"]
