"""Reads the file that says who may make which calls."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from detector_grpc.errors import SetupInvalid
from detector_grpc.interceptors.auth import Callers, Grant
from detector_grpc.interceptors.rpc_classes import RpcClass
from detector_grpc.validation import faults

if TYPE_CHECKING:
    from pathlib import Path


class CallerEntry(BaseModel):
    """One caller.

    Attributes:
        caller: Name for logs.
        token_sha256: SHA-256 digest of its token, in hexadecimal. Or:
        identity: Common name or subject alternative name of its certificate.
        classes: Classes of calls it may make.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    caller: Annotated[str, Field(min_length=1, max_length=63)]
    token_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    identity: Annotated[str, Field(min_length=1)] | None = None
    classes: frozenset[RpcClass]


_ENTRIES = TypeAdapter(list[CallerEntry])


def read_callers(path: Path) -> Callers:
    """Reads a YAML list of callers.

    Raises:
        SetupInvalid: The file cannot be read, or entries are wrong; all of them are named.
    """
    try:
        entries = _ENTRIES.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise SetupInvalid([f"{path}: {fault}" for fault in faults(error)]) from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or a date that does not exist
        raise SetupInvalid([f"cannot read the file of callers {path}: {error}"]) from error
    wrong = [entry.caller for entry in entries if (entry.token_sha256 is None) == (entry.identity is None)]
    if wrong:
        raise SetupInvalid([f"{path}: {name}: set either token_sha256 or identity" for name in wrong])
    proofs = Counter(entry.token_sha256 or entry.identity for entry in entries)
    doubled = [entry.caller for entry in entries if proofs[entry.token_sha256 or entry.identity] > 1]
    if doubled:
        raise SetupInvalid([f"{path}: {name}: another caller has the same token or identity" for name in doubled])
    return Callers(
        by_token={e.token_sha256: Grant(e.caller, e.classes) for e in entries if e.token_sha256 is not None},
        by_identity={e.identity: Grant(e.caller, e.classes) for e in entries if e.identity is not None},
    )
