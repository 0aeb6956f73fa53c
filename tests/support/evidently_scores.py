"""What Evidently says of pairs of samples: a program, since Evidently takes seconds and warns of much when imported.

Reads a JSON list of [name of the test, "num" or "cat", reference, current], writes a list of scores.
"""

from __future__ import annotations

import json
import sys

import pandas as pd
from evidently.legacy.calculations import stattests
from evidently.legacy.core import ColumnType

TYPES = {"num": ColumnType.Numerical, "cat": ColumnType.Categorical}

scores = [
    getattr(stattests, f"{name}_stat_test").func(pd.Series(reference), pd.Series(current), TYPES[kind], 0.1)[0]
    for name, kind, reference, current in json.load(sys.stdin)
]
json.dump([float(score) for score in scores], sys.stdout)
