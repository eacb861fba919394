"""Predictions of several models to all numbers of the analysis report: plain values, nothing rounded.

Whether a difference of two models' F1 is more than the choice of clips and seeds is settled by a paired bootstrap.

Every model is measured on the same clips of a data set by the same code, student or teacher, one seed or
several; where there are several, a number is the mean over seeds and comes with their standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from asd.evaluation.confidence import Ratio, difference_interval
from asd.evaluation.markdown import spread
from asd.evaluation.score_table import FloatArray
from asd.sed.cell_metrics import calibration, class_rows, overall, reliability
from asd.types import AsdError

THRESHOLD = 0.5  # above which a probability is a yes

Key = tuple[str, str, str]  # network, data set, model

COMPARED = ("accuracy", "precision", "recall", "f1", "macro_f1", "map", "ece", "brier")
MEASURES = (*COMPARED[:-1], "adaptive_ece", "brier", "bias")
CLASS_MEASURES = ("precision", "recall", "f1", "ap", "ece", "brier")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts for the clips of a data set."""

    probabilities: FloatArray  # (seeds, clips, classes), by models that differ in their seed
    targets: FloatArray  # (clips, classes), 0 or 1, or the share of listeners who heard it
    clips: Sequence[str]
    classes: Sequence[str]
    events: Mapping[str, Sequence[float]] = field(default_factory=dict)  # other measures (seeds,), such as PSDS


Models = Mapping[str, Mapping[str, Predictions]]  # model -> data set -> predictions
Networks = Mapping[str, Models]  # "student", "teacher" -> models


def summarise(networks: Networks, baseline: str) -> dict[str, Any]:
    """All numbers of the report.

    Returns:
        "baseline", "threshold", "datasets" (n_clips, classes, n_positive), "found" [network][data set][model]
        (n_seeds, "overall" and "events" as {measure: {mean, std}}, "classes", "reliability"), and the lists
        "differences" (each model minus the baseline), "best" (per network and data set) and "networks" (other
        networks minus the first).
    """
    first = next(iter(networks))
    references = networks[first][baseline]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    counts: dict[Key, Ratio] = {}
    for network, models in networks.items():
        for dataset, reference in references.items():
            for model, own in ((model, by[dataset]) for model, by in models.items()):
                _check_alike(own, reference, f"{network} {model} on {dataset}")
                found.setdefault(network, {}).setdefault(dataset, {})[model] = _measure(own)
                counts[network, dataset, model] = clip_counts(own.probabilities, own.targets)

    def minus(key: Key, other: Key, *, same_seeds: bool = False) -> dict[str, Any]:
        """One model minus another, unrounded, and what the clips settle about it."""
        one, rest = (found[network][dataset][model]["overall"] for network, dataset, model in (key, other))
        low, high = difference_interval(counts[key], counts[other], same_seeds=same_seeds)
        named = dict(zip(("network", "dataset", "model"), key, strict=True))
        differences = {name: one[name]["mean"] - rest[name]["mean"] for name in COMPARED}
        return {**named, **differences, "f1_low": low, "f1_high": high, "verdict": verdict(low, high)}

    def best(network: str, dataset: str) -> dict[str, Any]:
        """The model of the highest F1, and each of the others behind it."""
        f1 = {model: values["overall"]["f1"]["mean"] for model, values in found[network][dataset].items()}
        leader = max(f1, key=lambda model: f1[model])
        others = []
        for model in [name for name in f1 if name != leader]:
            row = minus((network, dataset, leader), (network, dataset, model))
            tie = row["verdict"] == "tie"
            others.append(
                {"model": model, "difference": row["f1"], "low": row["f1_low"], "high": row["f1_high"], "tie": tie}
            )
        settled = {"others": others, "tie": any(other["tie"] for other in others)}
        return {"network": network, "dataset": dataset, "model": leader, "f1": f1[leader], **settled}

    return {
        "baseline": baseline,
        "threshold": THRESHOLD,
        "datasets": {
            dataset: {
                "n_clips": len(reference.clips),
                "classes": list(reference.classes),
                "n_positive": (reference.targets > 0.5).sum(0).tolist(),
            }
            for dataset, reference in references.items()
        },
        "found": found,
        "differences": [minus(key, (*key[:2], baseline)) for key in counts if key[2] != baseline],
        "best": [best(network, dataset) for network, by in found.items() for dataset in by],
        "networks": [minus(key, (first, *key[1:]), same_seeds=True) for key in counts if key[0] != first],
    }


def _check_alike(predictions: Predictions, reference: Predictions, what: str) -> None:
    """Makes sure that a model was asked about the clips of the baseline."""
    if (
        list(predictions.clips) != list(reference.clips)
        or list(predictions.classes) != list(reference.classes)
        or not np.array_equal(predictions.targets, reference.targets)
    ):
        raise AsdError(
            f"{what} has other clips, classes or labels than the baseline; score all models on the same data"
        )


def _measure(predictions: Predictions) -> dict[str, Any]:
    targets, classes = predictions.targets, predictions.classes
    rows, values = [], []
    for probabilities in predictions.probabilities:
        rows.append(class_rows(probabilities, targets, classes, THRESHOLD))
        bias = float(probabilities.mean() - targets.mean())
        values.append({**overall(rows[-1], targets.size), **calibration(probabilities, targets), "bias": bias})
    # Of a class that one seed's model never predicts, the precision is that of the others.
    by_class = pd.concat(rows).groupby("class", sort=False)[["n_positive", *CLASS_MEASURES]].mean()
    everything = np.broadcast_to(targets, predictions.probabilities.shape)
    return {
        "n_seeds": len(values),
        "overall": {name: spread([value[name] for value in values]) for name in MEASURES},
        "events": {name: spread(seeds) for name, seeds in predictions.events.items()},
        "classes": by_class.to_dict("index"),
        "reliability": reliability(predictions.probabilities, everything).to_dict("list"),
    }


def clip_counts(probabilities: FloatArray, targets: FloatArray) -> Ratio:
    """What the micro F1 is made of, clip by clip: twice the hits, and what is predicted or true.

    Probabilities are (seeds, clips, classes), targets (clips, classes).
    """
    predicted, true = probabilities > THRESHOLD, targets > 0.5
    return 2.0 * (predicted & true).sum(-1), (predicted.sum(-1) + true.sum(-1)).astype(float)


def verdict(low: float, high: float) -> str:
    """What an interval of a difference settles: better, worse, or a tie where it contains 0."""
    return "better" if low > 0 else "worse" if high < 0 else "tie"
