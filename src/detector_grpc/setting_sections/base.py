"""What every section is made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

from detector_grpc.errors import SetupInvalid

LOOPBACK = "127.0.0.1"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=3600)]

# In the environment and in flags separated by commas, in the file a list.
_SEPARATED = BeforeValidator(
    lambda value: [each.strip() for each in value.split(",")] if isinstance(value, str) else value
)
Words = Annotated[tuple[str, ...], NoDecode, _SEPARATED]
Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], NoDecode, _SEPARATED]

MIB = 1024 * 1024


def state_folder(setting: str) -> Path:
    """Where the user's programs keep their state; what sets another place is named in the error."""
    return _folder(setting, "XDG_STATE_HOME", Path(".local", "state"))


def cache_folder(setting: str) -> Path:
    """Where the user's programs keep what can be made again; what sets another place is named in the error."""
    return _folder(setting, "XDG_CACHE_HOME", Path(".cache"))


def _folder(setting: str, variable: str, below_home: Path) -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        raise SetupInvalid([f"{setting} must be set where there is no home folder"]) from None
    folder = os.environ.get(variable) or home / below_home  # noqa: TID251  these are settings
    return Path(folder) / "detector-grpc"


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)
