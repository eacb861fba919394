"""The page of the digits study: results to accuracies, confusions, findings, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import classification_report

from asd.evaluation.markdown import Section, plus_minus, spread, write_page
from asd.studies.config import Digits
from asd.studies.digits import inspection
from asd.studies.digits.inspection import Example, Filters
from asd.studies.digits.recordings import KNOWN

TARGETS = {"known": 0.95, "unseen": 0.85}
SPLITS = {"known": "known speakers", "unseen": "unseen speakers"}
_N_CONFUSIONS = 8  # listed

Splits = Sequence[Sequence[Mapping[str, Any]]]  # of each split what `run_cell` gave, seed by seed
Summary = Mapping[str, Any]


def summarise(
    results: Mapping[str, Sequence[Mapping[str, Any]]], config: Digits, classes: Sequence[str]
) -> dict[str, Any]:
    """All numbers of the page, from what `run_cell` gave by split, one of each seed.

    Splits but `KNOWN` are named after who is left out; speakers on whom no setting was chosen are also reported apart.

    Returns:
        "known" and "unseen": "accuracy", "confusion" over all seeds, "classifiers"; "speakers": accuracy of each;
        "untouched": of the speakers nothing was chosen on, None where there are none; and what is known of the
        runs. Accuracies are {"mean", "std"} over seeds. Plain values only.
    """
    speakers = {name: runs for name, runs in results.items() if name != KNOWN}
    untouched = [runs for name, runs in speakers.items() if name not in config.chosen_on]
    parts = {"known": [results[KNOWN]], "unseen": list(speakers.values())}
    return {
        "settings": config.settings(),
        "seeds": list(config.seeds),
        "classes": list(classes),
        "parameters": results[KNOWN][0]["parameters"],
        "chosen_on": [name for name in config.chosen_on if name in speakers],
        "seconds": float(np.mean([run["seconds"] for runs in results.values() for run in runs])),
        **{
            part: {
                "accuracy": _accuracy(splits),
                "confusion": np.sum([run["confusion"] for runs in splits for run in runs], axis=0).tolist(),
                "classifiers": _classifiers(splits),
                "n_train": splits[0][0]["n_train"],
                "n_test": sum(runs[0]["n_test"] for runs in splits),
            }
            for part, splits in parts.items()
        },
        "speakers": {name: _accuracy([runs]) for name, runs in speakers.items()},
        "untouched": _accuracy(untouched) if untouched else None,
    }


def headline(summary: Summary) -> str:
    """The accuracies in two lines."""
    return "\n".join(f"{SPLITS[part]:15}  {_percent(summary[part]['accuracy'])}" for part in SPLITS)


def findings(summary: Summary) -> list[str]:
    """What the numbers say, in sentences."""
    sentences = []
    for part, target in TARGETS.items():
        met = "met" if summary[part]["accuracy"]["mean"] >= target else "missed"
        sentences.append(
            f"{SPLITS[part].capitalize()}: {_percent(summary[part]['accuracy'])}; "
            f"the target of {100 * target:.0f} % is {met}."
        )
    if summary["chosen_on"] and summary["untouched"] is not None:
        sentences.append(
            f"Unseen speakers on whom no setting was chosen: {_percent(summary['untouched'])}, the figure to expect of "
            "a new one."
        )
    name, accuracy = min(summary["speakers"].items(), key=lambda item: item[1]["mean"])
    sentences.append(f"Hardest to recognise when unseen: {name}, {_percent(accuracy)}.")
    for actual, called, share in confusions(summary["unseen"]["confusion"], summary["classes"])[:1]:
        sentences.append(
            f"The most frequent error by unseen speakers: {100 * share:.1f} % of *{actual}* are called *{called}*."
        )
    best = max(summary["unseen"]["classifiers"], key=lambda row: row["accuracy"]["mean"])
    gain = 100 * (best["accuracy"]["mean"] - summary["unseen"]["accuracy"]["mean"])
    sentences.append(
        f"The best other classifier by unseen speakers, {best['classifier']} on {best['features']} features, reaches "
        f"{_percent(best['accuracy'])}, {gain:+.1f} points against the network's own last layer."
    )
    return sentences


def confusions(confusion: Any, classes: Sequence[str]) -> list[tuple[str, str, float]]:
    """Errors (actual, called, share of the actual), most frequent first; counts (classes, classes) by actual."""
    matrix = np.asarray(confusion, np.float64)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(-shares, axis=None, kind="stable")
    pairs = [divmod(int(k), len(classes)) for k in order]
    return [(classes[i], classes[j], float(shares[i, j])) for i, j in pairs if shares[i, j]]


def classification(confusion: Any, classes: Sequence[str]) -> pd.DataFrame:
    """scikit-learn's report of a confusion matrix: precision, recall, f1-score and support by class and on average."""
    counts = np.asarray(confusion, np.int64)
    actual, called = (np.repeat(k, counts.ravel()) for k in np.indices(counts.shape).reshape(2, -1))
    report = classification_report(
        actual, called, labels=range(len(counts)), target_names=list(classes), output_dict=True, zero_division=0
    )
    rows = {name: report[name] for name in [*classes, "macro avg", "weighted avg"]}
    return pd.DataFrame(rows).T.rename_axis("word")


def _percent(found: Mapping[str, float]) -> str:
    """Mean ± standard deviation in per cent."""
    return f"{plus_minus(found, 1, factor=100)} %"


def write_report(folder: Path, summary: Summary, filters: Filters, examples: Sequence[Example]) -> None:
    """Writes all files of the report into `folder`, each whole or not at all."""
    rate_hz = summary["settings"]["sample_rate_hz"]
    figures = {
        "confusion": inspection.confusion_figure(
            {f"{SPLITS[part]}: {_percent(summary[part]['accuracy'])}": summary[part]["confusion"] for part in SPLITS},
            summary["classes"],
        ),
        "filters": inspection.filters_figure(filters, rate_hz),
        "activation_maps": inspection.maps_figure(examples[0], rate_hz),
        "class_activation": inspection.evidence_figure(examples, rate_hz),
    }
    page = [Section(points=findings(summary)), *_sections(summary, examples)]
    title = "Spoken digits from the waveform"
    write_page(folder, "report", title, page, numbers=summary, tables=tables(summary), figures=figures)


def tables(summary: Summary) -> dict[str, pd.DataFrame]:
    """Tables by file name; counts and reports are over all seeds."""
    classes, found = summary["classes"], {}
    for part in SPLITS:
        matrix = summary[part]["confusion"]
        found[f"confusion_{part}"] = pd.DataFrame(matrix, pd.Index(classes, name="actual"), classes)
        found[f"classification_{part}"] = classification(matrix, classes)
    found["speakers"] = pd.DataFrame(summary["speakers"]).T.rename_axis("speaker")
    found["classifiers"] = pd.DataFrame(
        {"split": part, "features": row["features"], "classifier": row["classifier"], **row["accuracy"]}
        for part in SPLITS
        for row in summary[part]["classifiers"]
    )
    return found


def _sections(summary: Summary, examples: Sequence[Example]) -> list[Section]:
    """The page below its findings."""
    settings = summary["settings"]
    n_right = sum(example.called == example.word for example in examples)
    return [
        Section(
            "Accuracy",
            f"Network `{settings['network']}`, {summary['parameters']:,} parameters, {settings['epochs']} epochs; mean "
            f"± standard deviation over the seeds {', '.join(map(str, summary['seeds']))}. *Known speakers*: the first "
            f"{settings['n_known_test']} recordings of every word and speaker are tested on, the others learnt from. "
            "*Unseen speakers*: each is left out of the training in turn and tested on. No recording that is tested on "
            "chose anything in a training; all epochs are run and the last weights stay.",
            head=["tested on", "trained on", "test recordings", "accuracy"],
            rows=_accuracies(summary),
            note=_chosen(summary),
        ),
        Section(
            "Confusions",
            head=["", "actual", "called", "share of the actual"],
            rows=[
                [SPLITS[part], actual, called, f"{100 * share:.1f} %"]
                for part in SPLITS
                for actual, called, share in confusions(summary[part]["confusion"], summary["classes"])[:_N_CONFUSIONS]
            ],
            figures=["confusion"],
            note="Counts over all seeds: confusion_known.csv, confusion_unseen.csv.",
        ),
        *(_classification_section(summary, part) for part in SPLITS),
        Section(
            "Features in other classifiers",
            "Features of the training recordings as they are, each brought to mean 0 and spread 1; scikit-learn's own "
            "settings (5 neighbours; C = 1), not tuned. The longest features are the flattened last activation map, "
            "shorter ones a dense layer after it. The network learnt from the same recordings as these classifiers, so "
            "its features fit those better than the ones it is tested on.",
            head=["classifier", "features", *SPLITS.values()],
            rows=[
                ["the network itself", "", *(_percent(summary[part]["accuracy"]) for part in SPLITS)],
                *(
                    [a["classifier"], a["features"], _percent(a["accuracy"]), _percent(b["accuracy"])]
                    for a, b in zip(*(summary[part]["classifiers"] for part in SPLITS), strict=True)
                ),
            ],
        ),
        Section(
            "First filters",
            f"Of the network for known speakers, seed {summary['seeds'][0]}, by centre frequency. A frequency response "
            "is a property of a linear filter: it describes the network only before the first ReLU."
            + (" The filters started as band-passes on the mel scale." if settings["tuned"] else ""),
            figures=["filters"],
        ),
        Section("Activation maps", figures=["activation_maps"]),
        Section(
            "Evidence for the word",
            "Above the STFT (Hann window of 512 samples, hop of 128), below the waveform and activation times gradient "
            "of the word's logit, summed over channels: orange raises the logit, blue lowers it. "
            f"{n_right} of {len(examples)} of these recordings are classified correctly.",
            figures=["class_activation"],
        ),
    ]  # fmt: skip


def _accuracies(summary: Summary) -> list[list[str]]:
    rows = [
        [title, f"{found['n_train']:,}", f"{found['n_test']:,}", _percent(found["accuracy"])]
        for title, found in ((title, summary[part]) for part, title in SPLITS.items())
    ]
    return rows + [[f"- {name} unseen", "", "", _percent(found)] for name, found in summary["speakers"].items()]


def _chosen(summary: Summary) -> str:
    """The accuracy on speakers on whom nothing was chosen."""
    if not summary["chosen_on"]:
        return ""
    names = ", ".join(summary["chosen_on"])
    if summary["untouched"] is None:
        return f"The settings were chosen on these speakers ({names}): their figures are optimistic."
    untouched = _percent(summary["untouched"])
    return f"The settings were chosen on {names} as unseen speakers; on the others the accuracy is {untouched}."


def _classification_section(summary: Summary, part: str) -> Section:
    report = classification(summary[part]["confusion"], summary["classes"])
    rows = [[str(name), *(f"{x:.3f}" for x in row[:3]), f"{row[3]:.0f}"] for name, *row in report.itertuples()]
    return Section(
        f"Classification report, {SPLITS[part]}", head=["word", "precision", "recall", "F1", "support"], rows=rows
    )


def _accuracy(splits: Splits) -> dict[str, float]:
    """Over seeds, of all test recordings of a seed."""
    matrices = [np.sum([run["confusion"] for run in of_seed], axis=0) for of_seed in zip(*splits, strict=True)]
    return spread([np.trace(matrix) / matrix.sum() for matrix in matrices])


def _classifiers(splits: Splits) -> list[dict[str, Any]]:
    """A row per length of features and classifier."""
    by_seed = list(zip(*splits, strict=True))
    n_test = np.array([sum(run["n_test"] for run in of_seed) for of_seed in by_seed])
    rows = []
    for size, kinds in splits[0][0]["classifiers"].items():
        for kind in kinds:
            right = [sum(run["classifiers"][size][kind] for run in of_seed) for of_seed in by_seed]
            rows.append({"features": size, "classifier": kind, "accuracy": spread(right / n_test)})
    return rows
