"""Samples in a bucket of S3, or of what speaks its language (MinIO, Ceph, R2 and others)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from detector_grpc.capture.sinks.sink import ObjectMissing, SinkError
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_REGION = "us-west-2"

_NAME_DIGITS = 12
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_MOST_SAID = 200  # characters of what a store says itself


class _Fault(NamedTuple):
    word: str
    codes: str
    advice: str


# Codes of S3 by what is wrong, and what to do about it; what no row names is told as it is.
_FAULTS = (
    _Fault(
        "wrong_credentials",
        "InvalidAccessKeyId SignatureDoesNotMatch InvalidToken ExpiredToken InvalidClientTokenId",
        "the credentials are not valid there; see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile or the "
        "role belong to this endpoint (DETECTOR_CAPTURE_S3_ENDPOINT) and have not expired",
    ),
    _Fault(
        "clock",
        "RequestTimeTooSkewed RequestExpired",
        "the clock of this machine differs too much from that of S3; see that it is kept by NTP",
    ),
    _Fault(
        "forbidden",
        "AccessDenied AllAccessDisabled Forbidden 403",
        "these credentials may not do this; allow them s3:PutObject there (to erase, s3:GetObject, s3:ListBucket and "
        "s3:DeleteObject, too), and see that DETECTOR_CAPTURE_S3_BUCKET_OWNER, if set, owns the bucket",
    ),
    _Fault("no_bucket", "NoSuchBucket", "there is no such bucket; make it, or set S3_BUCKET_NAME to one that is there"),
    _Fault(
        "wrong_region",
        "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException 301",
        "the bucket is in another region; set DETECTOR_CAPTURE_S3_REGION or AWS_DEFAULT_REGION to its own",
    ),
    _Fault(
        "busy",
        "SlowDown ServiceUnavailable InternalError RequestTimeout TooManyRequests 500 503 429",
        "it has too much to do, or is not well; it is asked again",
    ),
)
_BY_CODE = {code: fault for fault in _FAULTS for code in fault.codes.split()}
_NOT_FOUND = {"NoSuchKey", "404", "NotFound"}
_THERE = {"PreconditionFailed", "412"}
_NO_CONDITIONS = {"NotImplemented", "501"}


@dataclass(frozen=True)
class S3Place:
    """Where samples go. Empty means that S3 decides, or the usual configuration of its clients.

    Attributes:
        bucket: Name of the bucket.
        prefix: What all keys begin with, without a slash at the end.
        endpoint: URL of what speaks the language of S3; empty for S3 itself.
        region: Of the bucket.
        owner: Id of the account that must own the bucket, or nothing is sent.
        encryption: What encrypts objects in the bucket: `AES256`, `aws:kms`, `aws:kms:dsse`.
        kms_key: Id of the key, with `aws:kms`.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    owner: str = ""
    encryption: str = ""
    kms_key: str = ""


class S3Sink:
    """A bucket. See Sink. Credentials are found as by every client of S3: variables, profiles, roles.

    Args:
        place: Where it is.

    Raises:
        SetupInvalid: boto3 is not installed, or does not take these settings.
    """

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._prefix = f"{place.prefix.strip('/')}/" if place.prefix.strip("/") else ""
        where = f"{place.endpoint}\n{place.bucket}\n{self._prefix}"
        self.name = f"s3-{hashlib.sha256(where.encode()).hexdigest()[:_NAME_DIGITS]}"
        self.place = f"s3://{place.bucket}/{self._prefix}" + (f" at {place.endpoint}" if place.endpoint else "")
        self._client, self._errors = _client(place)
        self._of_bucket = {"Bucket": place.bucket} | _given(ExpectedBucketOwner=place.owner)
        self._of_objects = _given(ServerSideEncryption=place.encryption, SSEKMSKeyId=place.kms_key)
        self._takes_conditions = True

    def put(self, key: str, data: bytes, media_type: str, *, replace: bool = False) -> bool:
        """See Sink. Where the store knows no conditions, an object that is there is replaced by its like."""
        condition = {"IfNoneMatch": "*"} if self._takes_conditions and not replace else {}
        try:
            self._call(
                "put_object",
                key,
                Body=data,
                ContentType=media_type,
                ContentMD5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
                **self._of_objects,
                **condition,
            )
        except _CodedError as error:
            if error.code in _THERE:
                return False
            if error.code in _NO_CONDITIONS and condition:
                self._takes_conditions = False
                return self.put(key, data, media_type)
            raise
        return True

    def has(self, key: str) -> bool:
        """See Sink; False where the credentials do not allow to look, or to put says better what is wrong."""
        try:
            self._call("head_object", key)
        except _CodedError:
            return False
        return True

    def get(self, key: str) -> bytes:
        """See Sink."""
        try:
            answer = self._call("get_object", key)
        except _CodedError as error:
            if error.code in _NOT_FOUND:
                raise ObjectMissing(self.place, key) from error
            raise
        with self._told():
            body: bytes = answer["Body"].read()
        return body

    def walk(self, prefix: str = "") -> Iterator[str]:
        """See Sink."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Prefix=self._prefix + prefix, **self._of_bucket)
        pages = iter(pages)
        while True:
            with self._told():
                page = next(pages, None)
            if page is None:
                return
            for each in page.get("Contents", ()):
                key = each.get("Key", "")
                if key.startswith(self._prefix):
                    yield key.removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """See Sink."""
        try:
            self._call("delete_object", key)
        except _CodedError as error:
            if error.code not in _NOT_FOUND:
                raise

    def _call(self, operation: str, key: str, **arguments: object) -> Any:  # noqa: ANN401 - as boto3 answers
        with self._told():
            return getattr(self._client, operation)(Key=self._prefix + key, **self._of_bucket, **arguments)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong is told in words."""
        try:
            yield
        except self._errors.ClientError as error:
            raise self._coded(error.response) from error
        except (
            self._errors.NoCredentialsError,
            self._errors.PartialCredentialsError,
            self._errors.CredentialRetrievalError,
            self._errors.TokenRetrievalError,
        ) as error:
            raise SinkError(
                "no_credentials",
                f"{self.place}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile "
                "(AWS_PROFILE), or give this machine a role",
            ) from error
        except (self._errors.ReadTimeoutError, self._errors.ConnectTimeoutError) as error:
            raise SinkError("timeout", f"{self.place}: it does not answer in time; it is asked again") from error
        except (self._errors.BotoCoreError, OSError) as error:
            raise SinkError("unreachable", f"{self.place}: {error}; it is asked again") from error
        except Exception as error:  # what its client does not expect, such as to be sent in circles
            advice = f"it answers what nothing that speaks the language of S3 does ({type(error).__name__})"
            raise SinkError("refused", f"{self.place}: {advice}; see DETECTOR_CAPTURE_S3_ENDPOINT") from error

    def _coded(self, response: dict[str, Any]) -> _CodedError:
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        fault = _BY_CODE.get(code) or _BY_CODE.get(str(status))
        if fault is not None:
            region = response["Error"].get("Region") if fault.word == "wrong_region" else None
            return _CodedError(code, fault.word, f"{self.place}: {fault.advice}{f' ({region})' if region else ''}")
        message = response.get("Error", {}).get("Message", "")
        said = " ".join(f"{code or status}: {message}".split())[:_MOST_SAID]
        return _CodedError(code, "refused", f"{self.place}: it answers {said}")


class _CodedError(SinkError):
    def __init__(self, code: str, fault: str, advice: str) -> None:
        super().__init__(fault, advice)
        self.code = code


def _client(place: S3Place) -> tuple[Any, Any]:
    """A client of boto3, and the errors that it raises. It tries once: who asks again is the uploader."""
    try:
        import boto3  # noqa: PLC0415 - installed by extra, and slow to import
        from botocore import exceptions  # noqa: PLC0415 - as above
        from botocore.config import Config  # noqa: PLC0415 - as above
    except ImportError as error:
        raise SetupInvalid(["DETECTOR_CAPTURE_SINK=s3 needs boto3: `pip install 'detector-grpc[s3]'`"]) from error
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        # Compatible stores know neither the checksums of S3 nor buckets as names of hosts.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if place.endpoint else "auto"},
    )
    try:
        session = boto3.Session()
        client = session.client(
            "s3",
            endpoint_url=place.endpoint or None,
            region_name=place.region or session.region_name or DEFAULT_REGION,
            config=config,
        )
    except (exceptions.BotoCoreError, ValueError) as error:
        raise SetupInvalid([f"the settings of S3 cannot be used: {error}"]) from error
    return client, exceptions


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
