"""What a server tells Prometheus."""

from __future__ import annotations

import http.client
import uuid
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from detector_grpc._gen.detector.v1.model_service_pb2 import ListModelsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client
    from support.servers import ServerProcess

Labels = frozenset[tuple[str, str]]


class Metrics:
    """All samples of one moment.

    Attributes:
        samples: Values by name of the sample and its labels.
    """

    def __init__(self, text: str) -> None:
        self.samples: dict[tuple[str, Labels], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The value of one series; one that does not exist is a failure of the test."""
        return self.samples[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """Sum over all series with these labels, whatever other labels they have; 0 if there is none."""
        return sum(value for _, value in self._matching(name, labels))

    def labels(self, name: str) -> list[dict[str, str]]:
        """Labels of all series of a name."""
        return [dict(labels) for labels, _ in self._matching(name, {})]

    def _matching(self, name: str, labels: dict[str, str]) -> Iterator[tuple[Labels, float]]:
        for (each, has), value in self.samples.items():
            if each == name and labels.items() <= has:
                yield has, value


def read_metrics(server: ServerProcess) -> Metrics:
    """Asks once."""
    connection = http.client.HTTPConnection(server.host, server.metrics_port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        return Metrics(response.read().decode())
    finally:
        connection.close()


def settled_metrics(server: ServerProcess, client: Client) -> Metrics:
    """As `read_metrics`, with all calls that have been answered; the server counts and logs in batches, in order."""
    request_id = uuid.uuid4().hex
    client.models.ListModels(ListModelsRequest(), metadata=(("x-request-id", request_id),))
    server.wait_for_log("call", request_id=request_id)
    return read_metrics(server)
