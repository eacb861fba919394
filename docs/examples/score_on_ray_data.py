"""Scores with Ray Data, for paths that come from a data set and scores that go to one.

    python docs/examples/score_on_ray_data.py paths.parquet scores.parquet

For a folder, `python -m asd predict audio=FOLDER executor=ray` does the same, resumes, and writes one table.
"""

from __future__ import annotations

import sys

import pandas as pd

import asd


class Scorer:
    """One model per worker: Ray Data makes it once and calls it with table after table."""

    def __init__(self, run: str, machine: str) -> None:
        self.model = asd.load(run, machine, device="cpu")

    def __call__(self, table: pd.DataFrame) -> pd.DataFrame:
        """Scores of the recordings of a table with the column `path`."""
        return self.model.score_files(table["path"].tolist())


if __name__ == "__main__":
    import ray

    paths = ray.data.read_parquet(sys.argv[1])
    about = {"run": "runs/statistics", "machine": "fan"}
    scored = paths.map_batches(
        Scorer, fn_constructor_kwargs=about, batch_size=256, batch_format="pandas", concurrency=2
    )
    scored.write_parquet(sys.argv[2])
