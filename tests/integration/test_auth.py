"""Who may make which call: every RPC that the server offers, for every kind of caller."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, NamedTuple

import grpc
import numpy as np
import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.calls import DETECT, connected, encoded_request, failure
from support.certificates import Authority, channel_credentials
from support.onnx_files import tiny_onnx
from support.pictures import png
from support.rich_errors import info_of, leak_in, reason_of
from support.servers import PATIENCE_S, server_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client, Metadata
    from support.servers import ServerProcess

OPEN = "open to all"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CLASSES = {
    "/detector.v1.DetectorService/Detect": "infer",
    "/detector.v1.DetectorService/StreamDetect": "infer",
    "/detector.v1.DetectorService/Predict": "infer",
    "/detector.v1.DetectorService/Annotate": "infer",
    "/detector.v1.ModelService/ListModels": "read",
    "/detector.v1.ModelService/GetModel": "read",
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/List": "read",
    "/grpc.health.v1.Health/Watch": OPEN,
    REFLECTION: "read",
}
ADMIN_CLASSES = {
    "/detector.v1.ModelAdminService/LoadModelVersion": "admin",
    "/detector.v1.ModelAdminService/UnloadModelVersion": "admin",
    REFLECTION: "read",
}
# Every RPC by the port that serves it.
RPCS = [*(("public", method) for method in CLASSES), *(("admin", method) for method in ADMIN_CLASSES)]
REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

# Token, and the classes that its caller has; the caller is named after the token.
TOKENS = {
    "may-infer": ["infer"],
    "may-read": ["read"],
    "may-both": ["infer", "read"],
    "may-administer": ["admin"],
    "may-read-and-administer": ["read", "admin"],
    "may-nothing": [],
}


def class_of(port: str, method: str) -> str:
    return {"public": CLASSES, "admin": ADMIN_CLASSES}[port][method]


class Call(NamedTuple):
    """How a call ended.

    Attributes:
        code: Its code.
        error: What it ended with; None if it was answered.
    """

    code: grpc.StatusCode
    error: grpc.RpcError | None


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    tiny_onnx(folder / "tiny" / "v1" / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def by_token(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Client]]:
    """A server whose callers have tokens."""
    entries = [
        {"caller": token, "token_sha256": hashlib.sha256(token.encode()).hexdigest(), "classes": classes}
        for token, classes in TOKENS.items()
    ]
    callers = callers_file(tmp_path_factory.mktemp("callers"), entries)
    with server_process(repository=repository, auth_callers_file=callers) as server:
        server.wait_for_log("version ready")
        with connected(server.address) as client:
            yield server, client


@pytest.fixture(scope="module")
def ports(by_token: tuple[ServerProcess, Client]) -> Iterator[dict[str, Client]]:
    """A client of each port of the same server."""
    server, client = by_token
    with connected(server.admin_address) as admin:
        yield {"public": client, "admin": admin}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture(scope="module")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Settings of a server that demands certificates."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = authority.server().write(folder, "server")
    trusted = folder / "authority.crt"
    trusted.write_bytes(authority.certificate)
    return {"tls_certificate": certificate, "tls_private_key": key, "tls_client_authority": trusted}


@pytest.fixture(scope="module")
def known(
    repository: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that knows three callers by name."""
    entries = [
        {"caller": "camera", "identity": "camera.example.org", "classes": ["infer"]},
        {"caller": "dashboard", "identity": "dashboard", "classes": ["read"]},
        {"caller": "operator", "identity": "operator", "classes": ["admin"]},
    ]
    callers = callers_file(tmp_path_factory.mktemp("callers"), entries)
    with server_process(repository=repository, auth_callers_file=callers, **files) as server:
        server.wait_for_log("version ready")
        yield server


class TestTokens:
    def test_every_rpc_that_is_served_is_in_the_table(self, ports: dict[str, Client]) -> None:
        assert served_methods(ports["public"], bearer("may-read")) == CLASSES.keys()
        assert served_methods(ports["admin"], bearer("may-read")) == ADMIN_CLASSES.keys()

    @pytest.mark.parametrize(("port", "method"), RPCS)
    @pytest.mark.parametrize("header", [None, "", "may-both", "Basic bWF5LWJvdGg=", "Bearer", "Bearer wrong"])
    def test_without_a_known_token_only_the_open_ones_are_answered(
        self, ports: dict[str, Client], port: str, method: str, header: str | None
    ) -> None:
        call = make(ports[port], method, () if header is None else (("authorization", header),))

        if class_of(port, method) == OPEN:
            assert call.code not in (UNAUTHENTICATED, DENIED)
        else:
            assert call.code is UNAUTHENTICATED
            assert (reason_of(call.error), info_of(call.error).domain) == ("UNAUTHENTICATED", "detector.v1")
            assert "wrong" not in call.error.details()
            assert not leak_in(call.error)

    @pytest.mark.parametrize(("port", "method"), RPCS)
    @pytest.mark.parametrize("token", TOKENS)
    def test_a_known_token_opens_the_classes_of_its_caller(
        self, ports: dict[str, Client], port: str, method: str, token: str
    ) -> None:
        call = make(ports[port], method, bearer(token))

        if class_of(port, method) in {OPEN, *TOKENS[token]}:
            assert call.code not in (UNAUTHENTICATED, DENIED)
        else:
            assert call.code is DENIED
            assert (reason_of(call.error), info_of(call.error).domain) == ("PERMISSION_DENIED", "detector.v1")
            assert f'"{token}"' in call.error.details()
            assert f'"{class_of(port, method)}"' in call.error.details()
            assert not leak_in(call.error)

    def test_a_call_that_is_admitted_is_answered(self, by_token: tuple[ServerProcess, Client]) -> None:
        assert by_token[1].detect(REQUEST, bearer("may-infer")).detections
        assert by_token[1].detect(REQUEST, (("authorization", "bEaReR may-infer"),)).detections

    def test_an_order_that_is_admitted_is_carried_out(self, ports: dict[str, Client]) -> None:
        assert ports["admin"].load("v1", metadata=bearer("may-administer")).is_default

    def test_the_rpcs_of_one_port_are_not_served_by_the_other(self, ports: dict[str, Client]) -> None:
        for port, others in (("public", ADMIN_CLASSES), ("admin", CLASSES)):
            for method in others.keys() - {REFLECTION}:
                call = make(ports[port], method, bearer("may-read-and-administer"))
                assert call.code is grpc.StatusCode.UNIMPLEMENTED

    def test_a_method_that_nobody_serves_is_unimplemented(self, by_token: tuple[ServerProcess, Client]) -> None:
        for method in (f"/{DETECT}", f"{DETECT}/", "/detector.v1.DetectorService/detect", "/nobody/Nothing"):
            assert make(by_token[1], method, ()).code is grpc.StatusCode.UNIMPLEMENTED

    def test_the_message_of_a_stranger_is_not_waited_for(self, by_token: tuple[ServerProcess, Client]) -> None:
        ended = threading.Event()

        def messages() -> Iterator[bytes]:
            ended.wait(PATIENCE_S)
            yield b""

        call = by_token[1].channel.stream_unary(DETECT).future(messages(), timeout=PATIENCE_S)
        call.add_done_callback(lambda _: ended.set())

        assert failure(call.result).code() is UNAUTHENTICATED

    def test_the_log_names_callers_and_holds_no_token(self, by_token: tuple[ServerProcess, Client]) -> None:
        server, client = by_token
        wrong = "a-token-that-nobody-knows"
        make(client, DETECT, (("x-request-id", "known"), *bearer("may-infer")))
        make(client, DETECT, (("x-request-id", "denied"), *bearer("may-read")))
        make(client, DETECT, (("x-request-id", "stranger"), *bearer(wrong)))

        assert server.wait_for_log("call", request_id="known")["caller"] == "may-infer"
        assert server.wait_for_log("call", request_id="denied")["caller"] == "may-read"
        assert server.wait_for_log("call", request_id="stranger")["caller"] == "anonymous"
        assert wrong not in server.text
        assert "Bearer" not in server.text


class TestCertificates:
    """Mutual TLS: the client, too, shows a certificate."""

    @pytest.mark.parametrize(("port", "method"), RPCS)
    def test_of_a_known_name_open_the_classes_of_their_callers(
        self, known: ServerProcess, authority: Authority, port: str, method: str
    ) -> None:
        camera = authority.client("anything", "camera.example.org")
        dashboard = authority.client("dashboard")
        operator = authority.client("operator")
        for certificate, granted in ((camera, "infer"), (dashboard, "read"), (operator, "admin")):
            with connected(address(known, port), channel_credentials(authority, certificate)) as client:
                code = make(client, method, ()).code

            if class_of(port, method) in (OPEN, granted):
                assert code not in (UNAUTHENTICATED, DENIED, UNAVAILABLE)
            else:
                assert code is DENIED

    @pytest.mark.parametrize(("port", "method"), RPCS)
    def test_of_an_unknown_name_open_nothing(
        self, known: ServerProcess, authority: Authority, port: str, method: str
    ) -> None:
        stranger = authority.client("stranger", "camera.example.org.evil")
        with connected(address(known, port), channel_credentials(authority, stranger)) as client:
            call = make(client, method, ())

        if class_of(port, method) == OPEN:
            assert call.code not in (UNAUTHENTICATED, DENIED, UNAVAILABLE)
        else:
            assert (call.code, reason_of(call.error)) == (UNAUTHENTICATED, "UNAUTHENTICATED")
            assert "certificate" in call.error.details()

    def test_of_another_authority_or_none_get_no_connection(self, known: ServerProcess, authority: Authority) -> None:
        rogue = Authority("ours").client("dashboard", "camera.example.org")
        for credentials in (
            channel_credentials(authority, rogue),
            channel_credentials(authority),
            channel_credentials(Authority("theirs"), authority.client("dashboard")),
            None,
        ):
            for port, methods in (("public", CLASSES), ("admin", ADMIN_CLASSES)):
                with connected(address(known, port), credentials) as client:
                    for method in methods:
                        assert make(client, method, (), timeout_s=5).code is UNAVAILABLE

    def test_of_the_authority_may_do_everything_where_no_callers_are_named(
        self, repository: Path, files: dict[str, Path], authority: Authority
    ) -> None:
        with server_process(repository=repository, **files) as server:
            server.wait_for_log("version ready")
            credentials = channel_credentials(authority, authority.client("anybody"))
            with connected(server.address, credentials) as client:
                codes = {make(client, method, ()).code for method in CLASSES}
                answer = client.detect(REQUEST)
            assert server.wait_for_log("call", request_id=answer.request_id)["caller"] == "anybody"
            with connected(server.admin_address, credentials) as admin:
                assert admin.load("v1").is_default
            with connected(server.address, channel_credentials(authority)) as client:
                assert make(client, DETECT, (), timeout_s=5).code is UNAVAILABLE

        assert codes.isdisjoint({UNAUTHENTICATED, DENIED, UNAVAILABLE})


def test_tls_alone_encrypts_for_whoever_trusts_the_server(repository: Path, tmp_path: Path) -> None:
    authority = Authority("ours")
    certificate, key = authority.server().write(tmp_path, "server")
    with server_process(repository=repository, tls_certificate=certificate, tls_private_key=key) as server:
        server.wait_for_log("version ready")
        with connected(server.address, channel_credentials(authority)) as client:
            assert client.detect(REQUEST).detections
        with connected(server.address, channel_credentials(Authority("theirs"))) as client:
            assert failure(lambda: client.detect(REQUEST, timeout_s=5)).code() is UNAVAILABLE
        with connected(server.address) as client:
            assert failure(lambda: client.detect(REQUEST, timeout_s=5)).code() is UNAVAILABLE


def address(server: ServerProcess, port: str) -> str:
    return {"public": server.address, "admin": server.admin_address}[port]


def callers_file(folder: Path, entries: list[dict[str, object]]) -> Path:
    path = folder / "callers.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def make(client: Client, method: str, metadata: Metadata, timeout_s: float = PATIENCE_S) -> Call:
    """Sends an empty message, which every method takes, and waits for the first answer or the end."""
    answers = client.channel.stream_stream(method)(iter([b""]), metadata=metadata, timeout=timeout_s)
    try:
        next(answers, None)
    except grpc.RpcError as error:
        return Call(error.code(), error)
    answers.cancel()
    return Call(grpc.StatusCode.OK, None)


def served_methods(client: Client, metadata: Metadata) -> set[str]:
    """Full names of all methods, as the server itself tells."""
    ask = reflection_pb2_grpc.ServerReflectionStub(client.channel).ServerReflectionInfo
    (services,) = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), metadata=metadata)
    names = [service.name for service in services.list_services_response.service]
    requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
    return {
        f"/{name}/{method.name}"
        for name, answer in zip(names, ask(iter(requests), metadata=metadata), strict=True)
        for serialized in answer.file_descriptor_response.file_descriptor_proto
        for file in [FileDescriptorProto.FromString(serialized)]
        for service in file.service
        if f"{file.package}.{service.name}" == name
        for method in service.method
    }
