"""Who may make which class of calls.

A caller proves who it is by a bearer token in the metadata key `authorization`, or by the certificate of its end of a
mutual TLS connection. The file of callers says what each may do; tokens are kept as digests, so the file is no secret.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector_grpc import headers
from detector_grpc.errors import PermissionDenied, Unauthenticated
from detector_grpc.interceptors.around import AroundInterceptor
from detector_grpc.interceptors.rpc_classes import OPEN, RpcClass, rpc_class
from detector_grpc.serving.outcome import CURRENT_CALL

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from detector_grpc.interceptors.around import Answer, Context

_SCHEME = "bearer "

# Where gRPC puts what a verified client certificate says.
_IDENTITY_KEYS = ("x509_common_name", "x509_subject_alternative_name")


@dataclass(frozen=True)
class Grant:
    """What one caller may do.

    Attributes:
        caller: Name for logs and fairness.
        classes: Classes of calls it may make.
    """

    caller: str
    classes: Collection[RpcClass]


@dataclass(frozen=True)
class Callers:
    """Who is known.

    Attributes:
        by_token: Grants by the SHA-256 digest of a token, in lower case hexadecimal.
        by_identity: Grants by a name in the client's certificate: its common name or a subject alternative name.
    """

    by_token: Mapping[str, Grant] = field(default_factory=dict)
    by_identity: Mapping[str, Grant] = field(default_factory=dict)


class AuthInterceptor(AroundInterceptor):
    """Refuses calls that the caller may not make.

    Args:
        callers: Who is known.
    """

    def __init__(self, callers: Callers) -> None:
        super().__init__()
        self._callers = callers

    async def around(self, method: str, context: Context, answer: Answer) -> object:
        """See AroundInterceptor."""
        if method not in OPEN:
            grant = _grant(self._callers, context)
            CURRENT_CALL.get().caller = grant.caller
            needed = rpc_class(method)
            if needed not in grant.classes:
                raise PermissionDenied(grant.caller, needed)
        return await answer()


class NamingInterceptor(AroundInterceptor):
    """Lets everybody in whom the connection let in, under the first name in their certificate."""

    async def around(self, method: str, context: Context, answer: Answer) -> object:  # noqa: ARG002
        """See AroundInterceptor."""
        if names := _identities(context):
            CURRENT_CALL.get().caller = names[0]
        return await answer()


def _grant(callers: Callers, context: Context) -> Grant:
    header = dict(context.invocation_metadata() or ()).get(headers.AUTHORIZATION)
    if header is not None:
        return _by_token(callers, header if isinstance(header, str) else "")
    identities = _identities(context)
    for identity in identities:
        if identity in callers.by_identity:
            return callers.by_identity[identity]
    if identities:
        raise Unauthenticated("the certificate names no caller that this server knows")
    raise Unauthenticated(f'a bearer token is needed in the metadata key "{headers.AUTHORIZATION}"')


def _by_token(callers: Callers, header: str) -> Grant:
    if not header.lower().startswith(_SCHEME):
        raise Unauthenticated(f'the metadata key "{headers.AUTHORIZATION}" must be "Bearer" and a token')
    # A look-up by digest takes the same time however much of a guessed token is right.
    grant = callers.by_token.get(hashlib.sha256(header[len(_SCHEME) :].strip().encode()).hexdigest())
    if grant is None:
        raise Unauthenticated("the bearer token is not known")
    return grant


def _identities(context: Context) -> list[str]:
    presented = context.auth_context()
    return [value.decode("utf-8", "replace") for key in _IDENTITY_KEYS for value in presented.get(key, ())]
