"""Calls as no gRPC client would make them."""

from __future__ import annotations

import socket
import struct

from support.servers import PATIENCE_S

END_HEADERS, END_STREAM = 0x4, 0x1
DATA, HEADERS, SETTINGS = 0x0, 0x1, 0x4


def _framed(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header as HPACK has it without any table (RFC 7541, 6.2.2); both are shorter than 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def raw_call(address: str, path: bytes, *headers: tuple[bytes, bytes]) -> bytes:
    """Makes a call as no gRPC client would, and returns what comes back until it is over."""
    every = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *headers,
    ]
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _framed(SETTINGS, 0, 0, b"")
            + _framed(HEADERS, END_HEADERS, 1, b"".join(_literal(*header) for header in every))
            + _framed(DATA, END_STREAM, 1, bytes(5))  # a message without any field
        )
        with connection.makefile("rb") as answer:
            received = b""
            while len(head := answer.read(9)) == 9:
                length, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:])
                received += answer.read(length)
                if stream == 1 and (kind not in (DATA, HEADERS) or flags & END_STREAM):
                    return received
    raise AssertionError(f"the connection ended before the call did: {received!r}")
