"""How well a run detects the events of a part: frames, clips and events, student and teacher by the same code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from asd.core.storage import list_names
from asd.evaluation.markdown import Section, plain, spread
from asd.evaluation.score_table import FloatArray
from asd.sed import dataset
from asd.sed.cell_metrics import cell_metrics
from asd.sed.config import Train
from asd.sed.labels import Frames, clip_targets, frame_targets
from asd.sed.metrics import evaluate_events
from asd.sed.run import MODELS, SedRun
from asd.types import AsdError

_EVENTS = ("segment_f1", "segment_error_rate", "event_f1", "intersection_f1", "psds1", "psds2")
_SHOWN = {  # kind of measures -> what it is called, and those of a table
    "frames_half": ("frames, threshold 0.5", ("f1", "macro_f1", "roc_auc", "macro_roc_auc", "map")),
    "frames": ("frames, tuned thresholds", ("f1", "macro_f1")),
    "clips": ("clips, threshold 0.5", ("f1", "macro_f1", "map", "ece")),
    "events": ("events, tuned thresholds", _EVENTS),
}


def evaluate_run(run: SedRun, part: str, *, with_events: bool = True) -> dict[str, Any]:
    """Measures of both models: {model: {"frames_half", "frames", "clips"[, "events"]: measures}}."""
    config = run.settings()
    list_names(config.data)
    if not config.data.is_dir():
        raise AsdError(
            f"{config.data}, on which {run.path} was trained, is not there; where it was moved, the same `sed train` "
            f"with the new data= notes that"
        )
    place = config.data / part
    again = f"score that folder again: python -m asd sed score audio={place}"
    truth = dataset.read_part(config.data, part, config.classes, config.features.sample_rate_hz)
    if truth.events is None:
        raise AsdError(f"part={part} has no strong table, and events cannot be measured without one")
    decodings = run.decodings()
    results = {}
    for model in MODELS:
        frames, clips = run.frames(model, part), run.clips(model, part)
        if sorted(clips.index) != sorted(truth.filenames):
            raise AsdError(
                f"{run.path} scored {len(clips)} clips as {part}, which are not the {len(truth.filenames)} in {place}; "
                f"{again}"
            )
        if run.scored(part).get("fingerprint", truth.recordings.fingerprint) != truth.recordings.fingerprint:
            raise AsdError(
                f"{run.path} was stopped while it scored {part}, or scored other recordings under the names of those "
                f"in {place}; {again}"
            )
        for name, scores in frames.items():
            scored_s = float((scores["offset"] - scores["onset"]).sum())
            if abs(scored_s - truth.durations_s[name]) > config.features.hop_s:
                lasts = f"{name}, which lasts {truth.durations_s[name]:g} s"
                raise AsdError(f"{run.path} has scores of {scored_s:g} s of {lasts}; {again}")
        thresholds = decodings[model]["thresholds"]
        results[model] = cells(config, truth.events, frames, clips, thresholds)
        if with_events:
            results[model]["events"] = evaluate_events(frames, truth.events, truth.durations_s, thresholds)
    return results


def cells(
    config: Train,
    events: pd.DataFrame,
    frames: Mapping[str, pd.DataFrame],
    clips: pd.DataFrame,
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """Measures of frames and of clips, from the strong table of the clips and the scores of a model."""
    classes = list(config.classes)
    by_name = dict(list(events.groupby("filename")))
    predicted = np.concatenate([scores[classes].to_numpy(np.float64) for scores in frames.values()])
    true = np.concatenate(
        [frame_targets(by_name[name], classes, len(scores), config.features.hop_s) for name, scores in frames.items()]
    )
    present = np.stack([clip_targets(list(by_name[name]["event_label"]), classes) for name in clips.index])
    return {
        "frames_half": cell_metrics(predicted, true, classes) | roc_auc(predicted, true),
        "frames": cell_metrics(predicted, true, classes, thresholds),
        "clips": cell_metrics(clips[classes].to_numpy(np.float64), present, classes),
    }


def roc_auc(predicted: FloatArray, true: Frames) -> dict[str, float]:
    """Area under the ROC curve over all cells ("roc_auc"), and its mean over classes that have both answers."""
    truth = true > 0.5
    mixed = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    areas = [float(roc_auc_score(truth[:, k], predicted[:, k])) for k in mixed]
    micro = roc_auc_score(truth.ravel(), predicted.ravel()) if 0 < truth.sum() < truth.size else np.nan
    return {"roc_auc": float(micro), "macro_roc_auc": float(np.mean(areas)) if areas else float("nan")}


def summarise(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """{"seeds": [...], "mean": {model: {kind: {measure: x}}}, "std": the same, "by_seed": {seed: measures}}."""
    first = next(iter(by_seed.values()))

    def over_seeds(what: str) -> dict[str, Any]:
        return {
            model: {
                kind: {
                    name: spread([run[model][kind][name] for run in by_seed.values()])[what]
                    for name in measures
                    if name != "classes"
                }
                for kind, measures in kinds.items()
            }
            for model, kinds in first.items()
        }

    by_name = {str(seed): measures for seed, measures in by_seed.items()}
    return {"seeds": list(by_seed), "mean": over_seeds("mean"), "std": over_seeds("std"), "by_seed": by_name}


def page_of(summary: Mapping[str, Any]) -> tuple[str, list[Section]]:
    """Title and tables of a summary."""
    seeds = ", ".join(map(str, summary["seeds"]))
    sections = []
    for kind, (meaning, measures) in _SHOWN.items():
        models = [model for model in MODELS if kind in summary["mean"][model]]
        if rows := [[model, *(_cell(summary, model, kind, measure) for measure in measures)] for model in models]:
            sections.append(Section(text=meaning, head=["model", *measures], rows=rows))
    return f"{summary['name']}: {summary['part']}, mean ± standard deviation over seeds {seeds}", sections


def _cell(summary: Mapping[str, Any], model: str, kind: str, measure: str) -> str:
    mean, std = (summary[name][model][kind][measure] for name in ("mean", "std"))
    return f"{plain(mean, 3)} ± {plain(std, 3)}"
