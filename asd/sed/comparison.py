"""What trained runs say of the same clips, side by side: the stage `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from asd.sed.config import Train
from asd.sed.dataset import read_part
from asd.sed.evaluation import evaluate_run
from asd.sed.folders import MODELS, SedRun, find_runs
from asd.sed.labels import clip_targets
from asd.sed.report import write_report
from asd.sed.report_numbers import Predictions

_MEASURES = {
    "frames": ("f1", "macro_f1"),
    "events": ("segment_f1", "event_f1", "intersection_f1", "psds1", "psds2"),
}


def compare(
    members: Sequence[str],
    runs: Path,
    parts: Sequence[str],
    out: Path,
    *,
    seeds: Sequence[int] | None = None,
    with_events: bool = False,
) -> str:
    """Writes the analysis report of runs; returns its findings.

    Args:
        members: names of runs, trained with the same seeds on the same data; the first is the baseline.
        runs: their folder.
        parts: of the data folder, scored by all of them.
        out: folder of the report.
        seeds: to compare; None: all.
        with_events: measures of events too, which need the extra `sed`.

    Raises:
        AsdError: a run or part that is not there, or runs of other clips or classes.
    """
    found = {name: find_runs(runs, name, seeds) for name in members}
    networks = {
        model: {
            name: {part: predictions(trained, model, part, with_events=with_events) for part in parts}
            for name, trained in found.items()
        }
        for model in MODELS
    }
    facts = {name: _facts(trained) for name, trained in found.items()}
    return write_report(networks, out, members[0], facts=facts)


def predictions(runs: Sequence[SedRun], model: str, part: str, *, with_events: bool = False) -> Predictions:
    """What one model of all seeds says of the clips of a part, whose table says what is true."""
    measured = [evaluate_run(run, part, with_events=with_events)[model] for run in runs]
    config = Train.model_validate(runs[0].config())
    truth = read_part(config.data, part, config.classes, config.features.sample_rate_hz)
    assert truth.events is not None  # a scored part has a strong table
    labels = truth.events.groupby("filename")["event_label"].agg(list)
    tables = [run.clips(model, part) for run in runs]
    names = list(tables[0].index)
    return Predictions(
        np.stack([table.loc[names, config.classes].to_numpy(np.float64) for table in tables]),
        np.stack([clip_targets(labels[name], config.classes) for name in names]).astype(np.float64),
        names,
        config.classes,
        {
            f"{kind} {measure}": [seed[kind][measure] for seed in measured]
            for kind, measures in _MEASURES.items()
            if kind in measured[0]
            for measure in measures
        },
    )


def _facts(runs: Sequence[SedRun]) -> dict[str, str]:
    """What there is to know of a run: where it lies, its seeds, and its words apart from the usual ones."""
    config = runs[0].config()
    usual = Train().decisive()
    changed: dict[str, Any] = {}
    for section, values in usual.items():
        if isinstance(values, dict):
            differing = {key: config[section][key] for key in values if config[section][key] != values[key]}
            changed |= {f"{section}.{key}": value for key, value in differing.items()}
    return {
        "runs": str(runs[0].path.parent),
        "seeds": ", ".join(str(run.seed) for run in runs),
        "settings": yaml.safe_dump(changed, default_flow_style=True, width=10_000, sort_keys=False).strip(),
    }
