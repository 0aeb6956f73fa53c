"""Evidently's page on data drift, made by a process of its own: `python -m` this, with a file to read and one to write.

Evidently takes seconds to be imported and hundreds of megabytes, so nothing else imports it, and this process ends as
soon as the page is there. The page judges by what the state is judged by: the Wasserstein distance, and the distance
that is allowed to each feature.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from detector_grpc.drift.features import NAMES


def main(source: Path, page: Path) -> None:
    """Makes the page.

    Args:
        source: A file of `ReportSource.save`.
        page: Where the page is written.
    """
    with np.load(source) as file:
        reference, current, allowed = file["reference"], file["current"], file["allowed"]
    judged = [number for number in range(len(NAMES)) if np.isfinite(allowed[number])]
    names = [NAMES[number] for number in judged]
    # In standard deviations of the reference, as Evidently has it.
    scales = [max(float(np.nanstd(reference[:, number])), 0.001) for number in judged]
    preset = DataDriftPreset(
        drift_share=1 / len(names),  # one feature is enough
        num_method="wasserstein",
        per_column_threshold={
            NAMES[number]: float(allowed[number]) / scale for number, scale in zip(judged, scales, strict=True)
        },
    )
    definition = DataDefinition(numerical_columns=names)
    sets = [
        Dataset.from_pandas(pd.DataFrame(values[:, judged].astype(float), columns=names), data_definition=definition)
        for values in (current, reference)
    ]
    Report([preset]).run(*sets).save_html(str(page))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
