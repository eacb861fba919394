"""Scores on a Spark cluster: `mapInPandas` hands each partition to a function as an iterator of pandas tables.

    spark-submit docs/examples/score_on_spark.py paths.parquet scores.parquet

Every computer needs `asd` and the folder of the run under the same path; paths.parquet has a column `path`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd

import asd

RUN, MACHINE = "runs/statistics", "fan"
SCHEMA = "path string, score double, threshold double, decision int"


def score_partition(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """One model per partition; memory is that of one table."""
    model = asd.load(RUN, MACHINE, device="cpu")
    for table in tables:
        if len(table):
            yield model.score_files(table["path"].tolist())[["path", "score", "threshold", "decision"]]


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 256)
    paths = spark.read.parquet(sys.argv[1]).select("path").repartition(64)
    paths.mapInPandas(score_partition, SCHEMA).write.parquet(sys.argv[2])
