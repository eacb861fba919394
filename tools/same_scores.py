"""Whether two runs of one machine have the same scores, as far as two kinds of device can agree.

python tools/same_scores.py runs/ONE runs/OTHER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

CLOSE = 1e-3  # relative to the spread of the scores: float32 sums differ in their order


def main(arguments: Sequence[str]) -> int:
    """Compares every score table; returns the exit status."""
    one, other = map(Path, arguments)
    tables = sorted(path.relative_to(one) for path in one.glob("*/seed*/scores/*.csv"))
    differences = []
    for name in tables:
        scores, again = (pd.read_csv(run / name).set_index("file")["score"] for run in (one, other))
        spread = float(scores.std(ddof=0)) or 1.0
        differences.append(np.abs(scores.to_numpy() - again[scores.index].to_numpy()).max() / spread)
    worst = float(np.max(differences, initial=0.0))  # NaN where a score is none
    print(f"{len(tables)} tables, the largest difference {worst:.2g} of the spread")
    return 0 if tables and worst < CLOSE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
