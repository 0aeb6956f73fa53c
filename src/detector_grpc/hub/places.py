"""Addresses of files: https://, hf://, s3:// and file://."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from detector_grpc.hub.http import HttpSource
from detector_grpc.hub.local import LocalSource
from detector_grpc.hub.source import PullFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from detector_grpc.hub.source import Source

# Seconds for which what is signed may be asked for.
_SIGNED_FOR_S = 3600


def is_address(text: str) -> bool:
    """Whether a text is meant as an address, and not as a name of the catalogue."""
    return "://" in text


def file_name(address: str) -> str:
    """The last part of an address; empty where it has none."""
    return unquote(urlsplit(address).path.rpartition("/")[2])


def source_at(address: str, hub: str) -> Source:
    """The file at an address.

    Args:
        address: It.
        hub: URL that stands for `hf://`.

    Raises:
        PullFailed: There cannot be a file at it.
    """
    try:
        parts = urlsplit(address)
        make = _SCHEMES[parts.scheme]
    except KeyError:
        raise PullFailed(
            f"{parts.scheme}:// is not known: {', '.join(f'{each}://' for each in _SCHEMES)} are"
        ) from None
    except ValueError as error:
        raise PullFailed(f"this is no address: {error}") from error
    return make(parts, hub)


def _of_the_web(parts: SplitResult, hub: str) -> Source:  # noqa: ARG001 - as the others
    # What follows the question mark may be a signature.
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return HttpSource(name, parts._replace(fragment="").geturl)


def _of_the_hub(parts: SplitResult, hub: str) -> Source:
    """hf://OWNER/REPOSITORY[@REVISION]/PATH, as in huggingface_hub."""
    if urlsplit(hub).scheme not in ("http", "https"):
        raise PullFailed(f"HF_ENDPOINT must be a URL of HTTP, got {hub}")
    repository, _, path = parts.path.strip("/").partition("/")
    repository, _, revision = repository.partition("@")
    if not (parts.netloc and repository and path):
        raise PullFailed("hf:// is followed by OWNER/REPOSITORY[@REVISION]/PATH")
    revision = quote(unquote(revision or "main"), safe="")
    url = f"{hub.rstrip('/')}/{parts.netloc}/{repository}/resolve/{revision}/{path}"
    token = os.environ.get("HF_TOKEN", "")  # noqa: TID251 - credentials, which no setting holds
    return HttpSource(parts.geturl(), lambda: url, token, "HF_TOKEN is the variable for a token of the hub")


def _of_a_bucket(parts: SplitResult, hub: str) -> Source:  # noqa: ARG001 - as the others
    """s3://BUCKET/KEY, by a URL that is signed anew whenever it is asked for."""
    key = parts.path.lstrip("/")
    if not (parts.netloc and key):
        raise PullFailed("s3:// is followed by BUCKET/KEY")
    advice = "the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE or a role) must allow s3:GetObject there"
    return HttpSource(parts.geturl(), _signed(parts.netloc, key), advice=advice)


def _signed(bucket: str, key: str) -> Callable[[], str]:
    try:
        import boto3  # noqa: PLC0415 - installed by extra, and slow to import
        from botocore.config import Config  # noqa: PLC0415 - as above
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above
    except ImportError as error:
        raise PullFailed("s3:// needs boto3: `pip install 'detector-grpc[s3]'`") from error
    try:
        client = boto3.Session().client("s3", config=Config(signature_version="s3v4"))
    except (BotoCoreError, ValueError) as error:
        raise PullFailed(f"the settings of S3 cannot be used: {error}") from error

    def sign() -> str:
        try:
            url: str = client.generate_presigned_url(
                "get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=_SIGNED_FOR_S
            )
        except BotoCoreError as error:
            raise PullFailed(f"s3://{bucket}/{key}: {error}") from error
        return url

    return sign


def _of_this_machine(parts: SplitResult, hub: str) -> Source:  # noqa: ARG001 - as the others
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise PullFailed("file:// is followed by a whole path, as in file:///srv/models/street.onnx")
    return LocalSource(Path(unquote(parts.path)))


_SCHEMES: dict[str, Callable[[SplitResult, str], Source]] = {
    "https": _of_the_web,
    "hf": _of_the_hub,
    "s3": _of_a_bucket,
    "file": _of_this_machine,
    "http": _of_the_web,
}
