"""Results of the digits study to what they mean: accuracies with their spread, confusions, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asd.evaluation.classification import accuracy
from asd.evaluation.explain import FloatArray

TARGETS = {"known": 0.95, "unseen": 0.85}
SPLITS = {"known": "known speakers", "unseen": "unseen speakers"}

Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of the first convolution, lowest centre frequency first.

    Attributes:
        taps: (filters, taps) weights as they are, without batch normalisation.
        response_db: (filters, bins) gain at frequencies from 0 Hz to half the sample rate, largest 0 dB.
        centres_hz: (filters,) frequency of the largest gain.
    """

    taps: FloatArray
    response_db: FloatArray
    centres_hz: FloatArray


@dataclass(frozen=True, slots=True)
class Heard:
    """What the network makes of one recording.

    Attributes:
        word, said: what it is, and what the network calls it.
        waveform: (samples,).
        spectrogram_db: (bins, frames) below the loudest, from 0 Hz to half the sample rate.
        maps: (channels, steps) after every block.
        evidence: (steps,) what speaks for the word and against it, in a block of at least ten steps.
    """

    word: str
    said: str
    waveform: FloatArray
    spectrogram_db: FloatArray
    maps: list[FloatArray]
    evidence: FloatArray


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the figures show: the first filters, and one recording of every word."""

    sample_rate_hz: int
    filters: Filters
    heard: list[Heard]


def summarise(
    runs: Sequence[Run],
    known: str,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    chosen_on: Sequence[str],
) -> dict[str, Any]:
    """All numbers of the report.

    Args:
        runs: of `cell.run_cell`, each with its "split" and "seed".
        known: name of the split in which all speakers are known; the others are named after who is left out.
        settings: words of the study.
        classes: names of the words.
        chosen_on: speakers on whom the settings were chosen; the others are also reported apart.

    Returns:
        "known" and "unseen": "accuracy", "confusion" over all seeds, "classifiers"; "speakers": accuracy of each;
        "untouched": of the speakers nothing was chosen on, None where there are none; and what is known of the
        runs. Accuracies are {"mean", "std"} over seeds. Plain values only.
    """
    seeds = sorted({run["seed"] for run in runs})
    parts = {
        "known": [run for run in runs if run["split"] == known],
        "unseen": [run for run in runs if run["split"] != known],
    }
    speakers = list(dict.fromkeys(run["split"] for run in parts["unseen"]))
    untouched = [run for run in parts["unseen"] if run["split"] not in chosen_on]
    return {
        "settings": dict(settings),
        "seeds": seeds,
        "classes": list(classes),
        "parameters": runs[0]["parameters"],
        "chosen_on": [name for name in chosen_on if name in speakers],
        "seconds": float(np.mean([run["seconds"] for run in runs])),
        **{
            part: {
                "accuracy": _accuracy(of_part, seeds),
                "confusion": _confusion(of_part).tolist(),
                "classifiers": _classifiers(of_part, seeds),
                "n_train": of_part[0]["n_train"],
                "n_test": sum(run["n_test"] for run in of_part) // len(seeds),
            }
            for part, of_part in parts.items()
        },
        "speakers": {
            name: _accuracy([run for run in parts["unseen"] if run["split"] == name], seeds)
            for name in speakers
        },
        "untouched": _accuracy(untouched, seeds) if untouched else None,
    }


def headline(summary: Mapping[str, Any]) -> str:
    """The accuracies in two lines."""
    return "\n".join(f"{SPLITS[part]:15}  {percent(summary[part]['accuracy'])}" for part in SPLITS)


def findings(summary: Mapping[str, Any]) -> list[str]:
    """What the numbers say, in sentences."""
    said = []
    for part, target in TARGETS.items():
        mean = summary[part]["accuracy"]["mean"]
        met = "met" if mean >= target else "missed"
        said.append(
            f"{SPLITS[part].capitalize()}: {percent(summary[part]['accuracy'])}; "
            f"the target of {100 * target:.0f} % is {met}."
        )
    if summary["chosen_on"] and summary["untouched"] is not None:
        said.append(
            f"Unseen speakers on whom no setting was chosen: {percent(summary['untouched'])}, the figure to expect of "
            "a new one."
        )
    by_speaker = sorted(summary["speakers"].items(), key=lambda item: item[1]["mean"])
    said.append(f"Hardest to understand when unseen: {by_speaker[0][0]}, {percent(by_speaker[0][1])}.")
    confused = confusions(summary["unseen"]["confusion"], summary["classes"])
    if confused:
        actual, called, share = confused[0]
        said.append(
            f"The most frequent error by unseen speakers: {100 * share:.1f} % of *{actual}* are called *{called}*."
        )
    best = max(summary["unseen"]["classifiers"], key=lambda row: row["accuracy"]["mean"])
    gain = 100 * (best["accuracy"]["mean"] - summary["unseen"]["accuracy"]["mean"])
    said.append(
        f"The best other classifier by unseen speakers, {best['classifier']} on {best['features']} features, reaches "
        f"{percent(best['accuracy'])}, {gain:+.1f} points against the network's own last layer."
    )
    return said


def confusions(confusion: Any, classes: Sequence[str]) -> list[tuple[str, str, float]]:
    """Errors (actual, called, share of the actual), most frequent first; only those that occur."""
    matrix = np.asarray(confusion, np.float64)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(-shares, axis=None, kind="stable")
    pairs = [divmod(int(k), len(classes)) for k in order]
    return [(classes[i], classes[j], float(shares[i, j])) for i, j in pairs if shares[i, j]]


def percent(spread: Mapping[str, float]) -> str:
    """Mean ± standard deviation in per cent."""
    return f"{100 * spread['mean']:.1f} ± {100 * spread['std']:.1f} %"


def _confusion(runs: Sequence[Run]) -> np.ndarray:
    return np.sum([run["confusion"] for run in runs], axis=0)


def _accuracy(runs: Sequence[Run], seeds: Sequence[int]) -> dict[str, float]:
    """Over seeds, of all test recordings of a seed."""
    return _spread([accuracy(_confusion([run for run in runs if run["seed"] == seed])) for seed in seeds])


def _classifiers(runs: Sequence[Run], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """A row per length of features and classifier."""
    rows = []
    for size, kinds in runs[0]["classifiers"].items():
        for kind in kinds:
            shares = []
            for seed in seeds:
                of_seed = [run for run in runs if run["seed"] == seed]
                right = sum(run["classifiers"][size][kind] for run in of_seed)
                shares.append(right / sum(run["n_test"] for run in of_seed))
            rows.append({"features": size, "classifier": kind, "accuracy": _spread(shares)})
    return rows


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
