"""The stage `benchmark`: many methods on the same machines through the real stages, in one table.

A method is a line of options of `train` in a YAML file. Each is trained for every seed by `pipeline.train`,
so that a table shows exactly what a user gets; finished methods are not trained again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from asd import pipeline
from asd.core.runtime import log
from asd.metrics import harmonic_mean
from asd.runs import find_runs, read_json, write_json, write_text
from asd.settings.config import Benchmark, Evaluate, Run
from asd.settings.parsing import parse
from asd.types import AsdError


def benchmark(config: Benchmark) -> pd.DataFrame:
    """Trains and evaluates every method; writes benchmark.{md,csv,json} to the folder of its runs.

    Returns:
        One row per method and scorer: official_score, std (over seeds), a column per machine (harmonic mean
        of its metrics), seconds (per machine and seed, training and scoring).

    Raises:
        AsdError: a method file that is not one, or whatever a method raises.
    """
    rows = []
    for label, words in read_methods(config.methods).items():
        name = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        log.info("benchmark: %s", label)
        shared = [f"data={config.data}", f"machine={','.join(config.machine)}", f"year={config.year}"]
        seeds = ",".join(map(str, config.seeds))
        run = parse(Run, [*shared, f"seeds={seeds}", f"runs={config.runs}", f"name={name}", *words])
        pipeline.train(run)
        evaluation = pipeline.evaluate(Evaluate(name=name, runs=config.runs, year=config.year))
        seconds = [read_json(found.path / "DONE")["seconds"] for found in find_runs(config.runs, name)]
        for scorer, result in evaluation["scorers"].items():
            if scorer == evaluation["default"] or config.scorers == "all":
                rows.append(_row(label, scorer, result, float(np.mean(seconds))))
    table = pd.DataFrame(rows).sort_values("official_score", ascending=False, ignore_index=True)
    table = pd.concat([table, oracle(table)], ignore_index=True)
    write_json(config.runs / "benchmark.json", {"rows": table.to_dict("records")})
    write_text(config.runs / "benchmark.csv", table.to_csv(index=False))
    write_text(config.runs / "benchmark.md", as_markdown(table))
    return table


def read_methods(path: Path) -> dict[str, list[str]]:
    """Label -> options of `train`, from a YAML file of `label: key=value ...` lines.

    Raises:
        AsdError: the file is missing or has another form.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise AsdError(f"methods={path} cannot be read as YAML: {error}") from error
    if not isinstance(content, Mapping) or not all(isinstance(words, str) for words in content.values()):
        raise AsdError(f"methods={path} is no list of `label: detector=... key=value` lines")
    return {str(label): words.split() for label, words in content.items()}


def oracle(table: pd.DataFrame) -> pd.DataFrame:
    """The row of the best method per machine, chosen by its test labels: what choosing could gain at most."""
    machines = [column for column in table.columns if column not in _FIXED]
    best = {machine: float(table[machine].max()) for machine in machines}
    # every machine has as many metrics, so the harmonic mean of their means is that of all metrics
    score = float(harmonic_mean(np.array(list(best.values()))))
    row = {"method": "oracle: the best per machine by test labels", "scorer": "", "official_score": score}
    return pd.DataFrame([row | best])


def as_markdown(table: pd.DataFrame) -> str:
    """The table for a document."""
    machines = [column for column in table.columns if column not in _FIXED]
    lines = [
        "| method | scorer | official score | " + " | ".join(machines) + " | seconds |",
        "|---|---|---|" + "---|" * (len(machines) + 1),
    ]
    for row in table.to_dict("records"):
        spread = "" if pd.isna(row["std"]) else f" ± {100 * row['std']:.1f}"
        seconds = "" if pd.isna(row["seconds"]) else f"{row['seconds']:.1f}"
        cells = [str(row["method"]), str(row["scorer"]), f"{100 * row['official_score']:.1f}{spread}"]
        lines.append("| " + " | ".join([*cells, *(f"{100 * row[m]:.1f}" for m in machines), seconds]) + " |")
    return "\n".join(lines) + "\n"


_FIXED = ("method", "scorer", "official_score", "std", "seconds")


def _row(label: str, scorer: str, result: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": label,
        "scorer": scorer,
        "official_score": result["official_score"],
        "std": result["official_score_std"],
        "seconds": seconds,
    }
    for machine, sections in result["machines"].items():
        row[machine] = _machine_score(list(sections.values()))
    return row


def _machine_score(sections: Sequence[Mapping[str, float]]) -> float:
    values = [v for metrics in sections for name, v in metrics.items() if name.startswith(("auc", "pauc"))]
    return float(harmonic_mean(np.array(values)))
