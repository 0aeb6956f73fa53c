"""Channels and servers as every process of this project makes them: limits, keep-alive and TLS in one place."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

# A caller may ping an idle connection this often; the client's own interval must be longer (gRPC answers a caller that
# pings faster with GOAWAY "too_many_pings").
MIN_PING_INTERVAL_S = 10
CLIENT_PING_INTERVAL_S = 30

# gRPC's own limit is two minutes, which is long for somebody who waits for a server that is back.
MAX_RECONNECT_WAIT_S = 10

# What gRPC itself takes beyond the server's own limit. A message in this margin gets our error with all its details; a
# larger one gets gRPC's plain RESOURCE_EXHAUSTED, which also says size and limit.
MAX_METADATA_BYTES = 64 * 1024
TRANSPORT_MARGIN_BYTES = 1024 * 1024

# Else every caller would be at the first of several addresses until it fails.
_SHUFFLED = '{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}'

Options = list[tuple[str, int | str]]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of one end of a connection.

    Attributes:
        certificate: This end's certificate chain, or None to show none (clients only).
        private_key: Its key; set exactly when `certificate` is.
        authority: Certificates that the other end's must be signed by. For a server: makes client certificates
            mandatory (mTLS). For a client: None means the system's trust store.
    """

    certificate: Path | str | None = None
    private_key: Path | str | None = None
    authority: Path | str | None = None


def channel(target: str, tls: TlsFiles | None = None, *, own_connection: bool = False) -> grpc.Channel:
    """A blocking channel.

    Args:
        target: "host:port", or several addresses as gRPC writes them, "ipv4:10.0.0.1:50051,10.0.0.2:50051".
        tls: Certificates, or None for no TLS.
        own_connection: Whether it shares no connection with other channels to the same target, and begins at any of its
            addresses instead of the first.

    Raises:
        SetupInvalid: A TLS file cannot be read.
    """
    options = _client_options(own_connection=own_connection)
    if tls is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _channel_credentials(tls), options)


def aio_channel(target: str, tls: TlsFiles | None = None, *, own_connection: bool = False) -> grpc.aio.Channel:
    """As `channel`, for asyncio; bound to the running loop."""
    options = _client_options(own_connection=own_connection)
    if tls is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, _channel_credentials(tls), options)


def aio_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    max_message_bytes: int,
    max_connection_streams: int,
    max_calls: int | None = None,
) -> grpc.aio.Server:
    """An asyncio server that is not bound yet.

    Args:
        interceptors: Outermost first.
        max_message_bytes: Largest request that the server means to take.
        max_connection_streams: Most calls at once on one connection.
        max_calls: Most calls at once; gRPC refuses others before it reads them, in words of its own. None: no limit.
    """
    return grpc.aio.server(
        maximum_concurrent_rpcs=max_calls,
        interceptors=list(interceptors),
        options=[
            ("grpc.so_reuseport", 0),  # else a second server on the same port would start and take half the calls
            ("grpc.max_receive_message_length", max_message_bytes + TRANSPORT_MARGIN_BYTES),
            ("grpc.max_send_message_length", -1),
            # As much as the gateway lets through; gRPC's own words for more would be those of an overload.
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.max_concurrent_streams", max_connection_streams),
            # Else gRPC's window per stream grows to megabytes, and it reads messages that nobody has admitted yet
            # (measured: 1,285 instead of 267 MB for 200 calls of 10 MB at once, which also took longer).
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_S * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )


def bind(server: grpc.aio.Server, address: str, setting: str, tls: TlsFiles | None = None) -> int:
    """Binds the server and returns the port, which the system chooses where `address` ends in ":0".

    Raises:
        SetupInvalid: The address is in use or not ours, which names the setting, or a TLS file cannot be read.
    """
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _server_credentials(tls))
    except RuntimeError:
        raise SetupInvalid(
            [f"cannot listen on {address} ({setting}): the port is in use, or the address is not this machine's"]
        ) from None


def _client_options(*, own_connection: bool) -> Options:
    own: Options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", _SHUFFLED)] if own_connection else []
    return [
        *own,
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", CLIENT_PING_INTERVAL_S * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_WAIT_S * 1000),
    ]


def _channel_credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(tls.authority),
        private_key=_read(tls.private_key),
        certificate_chain=_read(tls.certificate),
    )


def check_server_files(tls: TlsFiles) -> None:
    """Refuses what gRPC would take without a word, and then refuse every connection for.

    Raises:
        SetupInvalid: A file cannot be read or is none of its kind, or certificate and key do not belong together.
    """
    if tls.certificate is None or tls.private_key is None:
        raise SetupInvalid(["TLS needs both a certificate and its private key"])
    for file in (tls.certificate, tls.private_key, tls.authority):
        _read(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.private_key, password="")
    except (ssl.SSLError, ValueError):
        raise SetupInvalid(
            [f"{tls.certificate} and {tls.private_key} are no PEM files of a certificate and its private key"]
        ) from None
    try:
        if tls.authority is not None:
            context.load_verify_locations(tls.authority)
    except (ssl.SSLError, ValueError):
        raise SetupInvalid([f"{tls.authority} is no PEM file of certificates"]) from None


def _server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    check_server_files(tls)
    certificate, key = _read(tls.certificate), _read(tls.private_key)
    return grpc.ssl_server_credentials(
        [(key or b"", certificate or b"")],
        root_certificates=_read(tls.authority),
        require_client_auth=tls.authority is not None,
    )


def _read(path: Path | str | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise SetupInvalid([f"cannot read the TLS file {path}: {error.strerror}"]) from error
