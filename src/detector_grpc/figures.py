"""matplotlib, which is not installed everywhere."""

from __future__ import annotations

from typing import Any

from detector_grpc.errors import SetupInvalid


def import_figure(extra: str) -> Any:  # noqa: ANN401 - a class that is not installed everywhere
    """The class Figure of matplotlib.

    Args:
        extra: The one to install that brings it.

    Raises:
        SetupInvalid: It is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - installed by extra, and slow to import
    except ImportError as error:
        raise SetupInvalid([f"matplotlib is not installed: `pip install 'detector-grpc[{extra}]'`"]) from error
    return Figure
