"""Predictions of several models to all numbers of the analysis report: plain values, nothing rounded.

Whether a difference of two models' F1 is more than the choice of clips and seeds is settled by a paired bootstrap.

Every model is measured on the same clips of a data set by the same code, student or teacher, one seed or
several; where there are several, a number is the mean over seeds and comes with their standard deviation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.evaluation.confidence import Ratio, difference_interval
from asd.evaluation.markdown import spread
from asd.sed.cell_metrics import calibration, check_cells, class_rows, overall, reliability
from asd.types import AsdError

THRESHOLD = 0.5  # above which a probability is a yes

FloatArray = npt.NDArray[np.float64]
Key = tuple[str, str, str]  # network, data set, model

COMPARED = ("accuracy", "precision", "recall", "f1", "macro_f1", "map", "ece", "brier")
MEASURES = (*COMPARED[:-1], "adaptive_ece", "brier", "bias")
CLASS_MEASURES = ("precision", "recall", "f1", "ap", "ece", "brier")


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts for the clips of a data set.

    `events` are other measures of the same models on the same data, by name, as (seeds,): F1 of events, PSDS.
    """

    probabilities: FloatArray  # (seeds, clips, classes), by models that differ in their seed
    targets: FloatArray  # (clips, classes), 0 or 1, or the share of listeners who heard it
    clips: Sequence[str]
    classes: Sequence[str]
    events: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)


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
    datasets = _check(networks, baseline)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    counts: dict[Key, Ratio] = {}
    for network, models in networks.items():
        for model, by in models.items():
            for dataset in datasets:
                own = by[dataset]
                found.setdefault(network, {}).setdefault(dataset, {})[model] = _measure(own)
                counts[network, dataset, model] = clip_counts(own.probabilities, own.targets)
    keys = [(network, dataset, model) for network, by in found.items() for dataset in by for model in by[dataset]]

    def minus(key: Key, other: Key, *, same_seeds: bool = False) -> dict[str, Any]:
        """One model minus another, unrounded, and what the clips settle about it."""
        one, rest = (found[network][dataset][model]["overall"] for network, dataset, model in (key, other))
        low, high = difference_interval(counts[key], counts[other], same_seeds=same_seeds)
        named = dict(zip(("network", "dataset", "model"), key, strict=True))
        differences = {name: one[name]["mean"] - rest[name]["mean"] for name in COMPARED}
        return {**named, **differences, "f1_low": low, "f1_high": high, "verdict": verdict(low, high)}

    first = next(iter(found))
    return {
        "baseline": baseline,
        "threshold": THRESHOLD,
        "datasets": datasets,
        "found": found,
        "differences": [minus(key, (*key[:2], baseline)) for key in keys if key[2] != baseline],
        "best": [
            {"network": network, "dataset": dataset, **_best(models, {m: counts[network, dataset, m] for m in models})}
            for network, by in found.items()
            for dataset, models in by.items()
        ],
        "networks": [minus(key, (first, *key[1:]), same_seeds=True) for key in keys if key[0] != first],
    }


def _check(networks: Networks, baseline: str) -> dict[str, dict[str, Any]]:
    """Data sets; makes sure that all models were asked about the same clips."""
    first_network = next(iter(networks), None)
    if first_network is None or baseline not in networks[first_network]:
        names = ", ".join(networks[first_network]) if first_network else "none"
        raise AsdError(f"baseline={baseline} is not among the models: {names}; name one of them")
    references = networks[first_network][baseline]
    for network, models in networks.items():
        for model, by in models.items():
            if by.keys() != references.keys() or models.keys() != networks[first_network].keys():
                raise AsdError(
                    f"{network} {model} has predictions for {', '.join(by)}, {baseline} for "
                    f"{', '.join(references)}; compare models that were all scored on the same data"
                )
            for dataset, predictions in by.items():
                _check_alike(predictions, references[dataset], f"{network} {model} on {dataset}")
                n_seeds = len(networks[first_network][model][dataset].probabilities)
                if len(predictions.probabilities) != n_seeds:
                    raise AsdError(
                        f"{network} {model} on {dataset} has {len(predictions.probabilities)} seeds, {first_network} "
                        f"{n_seeds}; score the same seeds of both"
                    )
    return {
        dataset: {
            "n_clips": len(reference.clips),
            "classes": list(reference.classes),
            "n_positive": (reference.targets > 0.5).sum(0).tolist(),
        }
        for dataset, reference in references.items()
    }


def _check_alike(predictions: Predictions, reference: Predictions, what: str) -> None:
    if (
        list(predictions.clips) != list(reference.clips)
        or list(predictions.classes) != list(reference.classes)
        or not np.array_equal(predictions.targets, reference.targets)
    ):
        raise AsdError(
            f"{what} has other clips, classes or labels than the baseline; score all models on the same data"
        )
    if len(set(predictions.clips)) != len(predictions.targets) or not len(predictions.probabilities):
        raise AsdError(f"{what} is to have a name for each of its clips, and a seed at least")
    for probabilities in predictions.probabilities:
        check_cells(probabilities, predictions.targets, predictions.classes, what)


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


def _best(found: Mapping[str, Any], counts: Mapping[str, Ratio]) -> dict[str, Any]:
    """The model of the highest F1, and each of the others behind it."""
    leader = max(found, key=lambda model: found[model]["overall"]["f1"]["mean"])
    f1 = found[leader]["overall"]["f1"]["mean"]
    others = []
    for model in found:
        if model != leader:
            low, high = difference_interval(counts[leader], counts[model])
            others.append(
                {
                    "model": model,
                    "difference": f1 - found[model]["overall"]["f1"]["mean"],
                    "low": low,
                    "high": high,
                    "tie": verdict(low, high) == "tie",
                }
            )
    return {"model": leader, "f1": f1, "others": others, "tie": any(other["tie"] for other in others)}


def clip_counts(probabilities: FloatArray, targets: FloatArray) -> Ratio:
    """What the micro F1 is made of, clip by clip: twice the hits, and what is predicted or true.

    Args:
        probabilities: (seeds, clips, classes).
        targets: (clips, classes).
    """
    predicted, true = probabilities > THRESHOLD, targets > 0.5
    return 2.0 * (predicted & true).sum(-1), (predicted.sum(-1) + true.sum(-1)).astype(float)


def verdict(low: float, high: float) -> str:
    """What an interval of a difference settles: better, worse, or a tie where it contains 0."""
    return "better" if low > 0 else "worse" if high < 0 else "tie"
