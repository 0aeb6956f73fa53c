"""What a call says around its messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from detector_grpc import headers

if TYPE_CHECKING:
    import grpc.aio

    from detector_grpc.serving.registry import Registry

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def pinned_version(context: Context) -> str:
    """The version that the caller asks for; empty for none."""
    return _value(context, headers.PINNED_VERSION)


def routed_version(context: Context, model: str, registry: Registry) -> str:
    """The version that the caller asks for, else the arm that the gateway chose, else none.

    Arms are versions of the default model: the gateway cannot see that a request names another. Those that may answer
    in its place stand behind it.
    """
    pinned = pinned_version(context)
    if pinned or not registry.is_default_model(model):
        return pinned
    return registry.first_ready(_arms(context))


def answered_by(context: Context, version: str) -> tuple[tuple[str, str], ...]:
    """What to say of the version that answers: nothing where it is the arm, which the gateway names to the caller."""
    arm = _arms(context)[0]
    return () if arm in ("", version) else ((headers.ARM, version),)


def rest_query(context: Context) -> str:
    """The query of the URL that a REST caller asked; empty for none, and for other callers."""
    return _value(context, headers.ORIGINAL_PATH).partition("?")[2]


def rest_version(context: Context) -> str:
    """The version in the path that a REST caller asked, /<version>/<method>; empty for none.

    Envoy puts it into the message, but lets a parameter overwrite it whose name is percent-encoded.
    """
    path = _value(context, headers.ORIGINAL_PATH).partition("?")[0]
    match [part for part in path.split("/") if part]:
        case [version, _]:
            return unquote(version)
    return ""


def deadline(context: Context) -> float | None:
    """When the caller stops waiting, in seconds of `time.monotonic`; None for never."""
    remaining_s = context.time_remaining()
    return None if remaining_s is None else time.monotonic() + remaining_s


def _arms(context: Context) -> list[str]:
    """The arm, and those that may answer in its place; one that is empty for none."""
    return _value(context, headers.ARM).split(",")


def _value(context: Context, key: str) -> str:
    value = dict(context.invocation_metadata() or ()).get(key, "")
    return value if isinstance(value, str) else value.decode("ascii", "replace")
