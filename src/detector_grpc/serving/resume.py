"""Tokens with which a stream goes on at another server: what that server must know, signed so that none is made up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from detector_grpc.errors import ResumeTokenExpired, ResumeTokenInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_AGE_S = 600.0

_SIGNATURE_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Resumption:
    """Where a stream was when it was drained.

    Attributes:
        model: Name of the model that answered.
        version: Version of the model that answered.
        last_frame_id: Id of the last frame that was taken.
        last_track_id: Highest track id that was given; 0 for none.
    """

    model: str
    version: str
    last_frame_id: int
    last_track_id: int = 0


class ResumeTokens:
    """Makes and reads tokens: URL-safe base64 of an HMAC-SHA256 (RFC 2104) and JSON.

    Args:
        key: Secret that the servers share between which streams move.
        clock: Seconds since the epoch.
    """

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock

    def issue(self, resumption: Resumption) -> str:
        """Makes a token."""
        content = json.dumps({"at": self._clock(), **asdict(resumption)}, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._signature(content) + content).decode()

    def read(self, token: str) -> Resumption:
        """Reads a token.

        Raises:
            ResumeTokenInvalid: It was not made with this key.
            ResumeTokenExpired: It is older than `MAX_AGE_S`.
        """
        try:
            data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise ResumeTokenInvalid from None
        signature, content = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(content)):
            raise ResumeTokenInvalid
        content_fields = json.loads(content)
        age_s = self._clock() - content_fields["at"]
        if age_s > MAX_AGE_S:
            raise ResumeTokenExpired(age_s, MAX_AGE_S)
        # A newer server may say more than this one knows.
        return Resumption(**{field.name: content_fields[field.name] for field in fields(Resumption)})

    def _signature(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")
