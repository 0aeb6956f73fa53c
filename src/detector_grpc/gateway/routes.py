"""The route table: which calls go to which cluster, and what tells the servers the arm."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from detector_grpc import headers
from detector_grpc.gateway.descriptors import DETECTOR_SERVICE, DRIFT_SERVICE, MODEL_SERVICE, STREAM_METHOD, rest_paths
from detector_grpc.gateway.local_errors import GRPC_TYPES
from detector_grpc.gateway.template import duration, fill
from detector_grpc.gateway.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detector_grpc.gateway.plan import Plan

    Route = dict[str, Any]

SERVERS_CLUSTER = "servers"
PAGES_CLUSTER = "http"
DRIFT_CLUSTER = "drift"

_HEALTH = "/grpc.health.v1.Health/"
_REFLECTION = "/grpc.reflection."
_GRPC = (f"/{DETECTOR_SERVICE}/", f"/{MODEL_SERVICE}/", f"/{DRIFT_SERVICE}/", _HEALTH, _REFLECTION)
_MILLION = 1_000_000

# Envoy draws one number for a call: modulo a million it says whether the call is copied, modulo the sum of the weights
# which version answers. The two are independent only where they have no common divisor. So that sum ends in 9: each
# weight counts a thousandfold, and the largest one less.
_UNITS = 1000

# A path that no method and no page has. One that is not UTF-8 ends a server of grpcio 1.85.1, and Envoy would then try
# the next one.
_NO_ASCII = {"name": ":path", "string_match": {"safe_regex": {"regex": "[ -~]*"}}, "invert_match": True}

# What the servers take as a picture or as something that contains one. What is not ASCII no message can hold.
_PICTURE_TYPES = (
    r"(?i)\s*(multipart/form-data|image/|application/json|application/octet-stream)[\t -~]*",
    "multipart/form-data, image/*, application/octet-stream or application/json",
)
_JSON_TYPES = r"(?i)\s*application/json[\t -~]*", "application/json"


def route_table(plan: Plan, traffic: Traffic) -> dict[str, Any]:
    """What the routes file contains."""
    routes = list(_routes(plan, traffic))
    origins = [_origin(origin) for origin in plan.cors_origins]
    digest = hashlib.sha256(json.dumps([origins, routes]).encode()).hexdigest()
    table: dict[str, Any] = fill("routes", version_info=digest[:12], cors_origins=origins, routes=routes)
    return table


def routed(table: Mapping[str, Any]) -> Traffic:
    """How a route configuration shares the traffic, in a file or in what Envoy says that it has.

    Raises:
        KeyError, TypeError: It is no route table of ours.
    """
    weights: dict[str, int] = {}
    shadow: dict[str, float] = {}
    for route in table["virtual_hosts"][0]["routes"]:
        fraction = route["match"].get("runtime_fraction")
        for arm in route.get("route", {}).get("weighted_clusters", {}).get("clusters", ()):
            told = {each["header"]["key"]: each["header"]["value"] for each in arm["request_headers_to_add"]}
            if weight := arm.get("weight"):  # Envoy leaves out what is 0
                weights[told[headers.ARM].split(",")[0]] = weight
            if fraction and headers.SHADOW in told:
                shadow[told[headers.SHADOW]] = fraction["default_value"].get("numerator", 0) / _MILLION
    if (sum(weights.values()) + 1) % _UNITS == 0:  # else somebody has edited the file
        weights = {version: -(-weight // _UNITS) for version, weight in weights.items()}
    return Traffic(weights, shadow)


def _routes(plan: Plan, traffic: Traffic) -> Iterator[Route]:
    unary = fill("unary", request_timeout=duration(plan.request_timeout_s))
    stream = fill("stream")
    yield {"match": {"prefix": "/", "headers": [_NO_ASCII]}, "direct_response": {"status": 404}}
    for origin in plan.cors_origins:
        yield fill("preflight", origin=_origin(origin), cluster=PAGES_CLUSTER)
    yield from _not_grpc()
    yield from _detections(plan, Traffic(traffic.weights), {"path": STREAM_METHOD}, stream)
    yield from _detections(plan, traffic, {"prefix": f"/{DETECTOR_SERVICE}/"}, unary)
    everyone = {"cluster": SERVERS_CLUSTER}
    yield {"match": {"path": f"{_HEALTH}Watch"}, "route": everyone | stream}
    yield {"match": {"prefix": _REFLECTION}, "route": everyone | stream}
    for prefix in (_HEALTH, f"/{MODEL_SERVICE}/"):
        yield {"match": {"prefix": prefix}, "route": everyone | unary}
    if plan.drift:
        yield {"match": {"prefix": f"/{DRIFT_SERVICE}/"}, "route": {"cluster": DRIFT_CLUSTER} | unary}
    yield {"match": {"prefix": "/", "grpc": {}}, "direct_response": {"status": 404}}
    yield from _rest(plan.max_body_bytes)
    yield {"match": {"prefix": "/"}, "route": {"cluster": PAGES_CLUSTER, "timeout": duration(plan.request_timeout_s)}}


def _detections(plan: Plan, traffic: Traffic, match: Route, policy: Route) -> Iterator[Route]:
    """Routes of calls that a version answers: pinned by path, else pinned by header, else by weight."""
    for name, kind, text in ((headers.ORIGINAL_PATH, "prefix", "/{}/"), (headers.PINNED_VERSION, "exact", "{}")):
        for version in plan.versions:
            pin = {"name": name, "string_match": {kind: text.format(version)}}
            yield {"match": match | {"headers": [pin]}, "route": {"cluster": plan.cluster(version)} | policy}
    if not traffic.weights:
        yield {"match": match, "route": {"cluster": SERVERS_CLUSTER} | policy}
        return
    for version, fraction in traffic.shadow.items():
        share = {"default_value": {"numerator": round(fraction * _MILLION), "denominator": "MILLION"}}
        arms = fill("arms", arms=_arms(plan, traffic, shadow=version))
        yield {"match": match | {"runtime_fraction": share}, "route": policy | arms}
    yield {"match": match, "route": policy | fill("arms", arms=_arms(plan, traffic))}


def _arms(plan: Plan, traffic: Traffic, shadow: str = "") -> list[Route]:
    """The versions with their weights; what goes to another than `shadow` is marked to be copied to it."""
    arms = []
    largest = max(plan.versions, key=lambda version: traffic.weights.get(version, 0))
    for version in plan.versions:
        told = {headers.ARM: ",".join(plan.answering(version))} | (
            {headers.SHADOW: shadow} if shadow not in ("", version) else {}
        )
        arms.append(
            {
                "name": plan.arm_cluster(version),
                "weight": traffic.weights.get(version, 0) * _UNITS - (version == largest),
                "request_headers_to_add": _headers(told, "OVERWRITE_IF_EXISTS_OR_ADD"),
                # A server says so itself where another version has answered.
                "response_headers_to_add": _headers({headers.ARM: version}, "ADD_IF_ABSENT"),
            }
        )
    return arms


def _headers(values: dict[str, str], action: str) -> list[Route]:
    return [{"header": {"key": key, "value": value}, "append_action": action} for key, value in values.items()]


def _not_grpc() -> Iterator[Route]:
    """Requests to methods of gRPC that are no calls of it."""
    regex = {"regex": f"({'|'.join(map(re.escape, _GRPC))}).*"}
    yield from _only(regex, ["POST"])
    message = "this is a method of gRPC, so the content type must be application/grpc or application/grpc-web"
    yield fill("other_content", regex=regex, content_types=GRPC_TYPES, message=message)


def _rest(max_body_bytes: int) -> Iterator[Route]:
    """How requests of REST are received before they become calls, and what would become none.

    A path that takes a picture takes nothing else; a path that takes one HTTP method does not take another.
    """
    for template, (methods, takes_picture) in rest_paths().items():
        # As the transcoder reads paths, to which slashes more or less are the same.
        regex = {"regex": re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template).replace("/", "/+")) + "/*"}
        yield from _only(regex, methods)
        if "POST" in methods:
            types, kinds = _PICTURE_TYPES if takes_picture else _JSON_TYPES
            message = f"the content type must be {kinds}, in ASCII"
            yield fill("other_content", regex=regex, content_types=types, message=message)
            yield fill("upload", regex=regex, cluster=SERVERS_CLUSTER, max_body_bytes=max_body_bytes)


def _only(regex: Route, methods: list[str]) -> Iterator[Route]:
    """What a path answers to all other HTTP methods."""
    yield from fill(
        "methods",
        regex=regex,
        methods="|".join(methods),
        allow=", ".join([*methods, "OPTIONS"]),
    )


def _origin(origin: str) -> Route:
    """An origin as Envoy matches it; "*" is any, and ":*" at its end any port."""
    if origin == "*":
        return {"safe_regex": {"regex": ".*"}}
    if origin.endswith(":*"):
        return {"safe_regex": {"regex": re.escape(origin.removesuffix(":*")) + "(:[0-9]+)?"}}
    return {"exact": origin}
