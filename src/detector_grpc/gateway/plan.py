"""What the configuration of one gateway is made from; kept beside it, so that routes can be made anew while it runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

ENVELOPE_BYTES = 4096


class Plan(BaseModel):
    """A gateway.

    Attributes:
        model: The model whose versions share the traffic.
        versions: Those versions, sorted.
        default_version: The one that gets all traffic until somebody says otherwise.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        certificate: PEM file of the certificate chain that clients are shown; empty: no encryption.
        private_key: PEM file of its key.
        plain_port: Port without encryption, on loopback, where there is a certificate; as `port`.
        admin_port: Port of Envoy's own interface, on loopback; as `port`.
        metrics_port: Port of its metrics; as `port`. They come from its own interface, whose port must be known.
        http: `host:port` of the process that serves the pages.
        servers: `host:port` of every server process.
        servers_authority: PEM file of the certificates that sign those of the servers; empty: no encryption.
        drift: `host:port` of the process that watches for drift; empty where nobody does.
        failover: Whether other versions answer in place of an arm that no server has ready.
        cors_origins: Origins whose pages may call, as `gateway.cors_origins`.
        max_message_bytes: Largest request that servers take.
        margin_bytes: What a server's transport takes beyond that.
        max_connection_streams: Most calls at once on one connection.
        max_memory_bytes: Most memory that Envoy may take.
        receive_timeout_s: Seconds that a request may take to arrive.
        request_timeout_s: Seconds that a call without a deadline of its own may take.
        logs_requests: Whether each request gets a line in the log.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    versions: tuple[str, ...]
    default_version: str
    host: str
    port: int
    certificate: str
    private_key: str
    plain_port: int
    admin_port: int
    metrics_port: int
    http: str
    servers: tuple[str, ...]
    servers_authority: str
    drift: str = ""
    failover: bool
    cors_origins: tuple[str, ...]
    max_message_bytes: int
    margin_bytes: int
    max_connection_streams: int
    max_memory_bytes: int
    receive_timeout_s: float
    request_timeout_s: float
    logs_requests: bool = True

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request of REST, which becomes a message with a little more."""
        return self.max_message_bytes - ENVELOPE_BYTES

    def cluster(self, version: str) -> str:
        """Name of Envoy's cluster of a version."""
        return f"{self.model}_{version}"

    def arm_cluster(self, version: str) -> str:
        """As `cluster`, for calls that the weights send there."""
        return f"{self.cluster(version)}_or_others" if self.failover else self.cluster(version)

    def answering(self, version: str) -> list[str]:
        """The versions that may answer for an arm, in the order in which they are asked."""
        others = [each for each in self.versions if each != version]
        return [version, *others] if self.failover else [version]
