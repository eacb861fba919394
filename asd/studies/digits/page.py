"""The document of the digits study: report.md, report.json, tables as CSV and figures as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from asd.core.runtime import atomic
from asd.evaluation.classification import classification_report
from asd.evaluation.markdown import table
from asd.runs import write_json, write_text
from asd.studies.digits.figures import confusion_figure, evidence_figure, filters_figure, maps_figure
from asd.studies.digits.results import SPLITS, Hearing, confusions, findings, percent

_N_CONFUSIONS = 8


def write_report(folder: Path, summary: Mapping[str, Any], hearing: Hearing) -> None:
    """Writes all files of the report into `folder`, each whole or not at all.

    Raises:
        AsdError: the place cannot be written.
    """
    write_json(folder / "report.json", summary)
    for name, frame in tables(summary).items():
        with atomic(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary)
    figures = {
        "confusion": confusion_figure(summary),
        "filters": filters_figure(hearing.filters, hearing.sample_rate_hz),
        "activation_maps": maps_figure(hearing.heard[0], hearing.sample_rate_hz),
        "class_activation": evidence_figure(hearing),
    }
    for name, figure in figures.items():
        with atomic(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=80)
    write_text(folder / "report.md", markdown(summary, hearing))


def tables(summary: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Tables by file name; counts and reports are over all seeds."""
    classes = summary["classes"]
    found: dict[str, pd.DataFrame] = {}
    for part in SPLITS:
        matrix = summary[part]["confusion"]
        index = pd.Index(classes, name="actual")
        found[f"confusion_{part}"] = pd.DataFrame(
            matrix, index=index, columns=pd.Index(classes, name="called")
        )
        found[f"classification_{part}"] = classification_report(matrix, classes)
    found["speakers"] = pd.DataFrame(summary["speakers"]).T.rename_axis("speaker")
    rows = [
        {"split": part, "features": row["features"], "classifier": row["classifier"], **row["accuracy"]}
        for part in SPLITS
        for row in summary[part]["classifiers"]
    ]
    found["classifiers"] = pd.DataFrame(rows).set_index("split")
    return found


def markdown(summary: Mapping[str, Any], hearing: Hearing) -> str:
    """The report as a page."""
    seeds = ", ".join(map(str, summary["seeds"]))
    parts = [
        "# Spoken digits from the waveform",
        "\n".join(f"- {sentence}" for sentence in findings(summary)),
        "## Accuracy",
        f"Network `{summary['settings']['network']}`, {summary['parameters']:,} parameters, "
        f"{summary['settings']['epochs']} epochs; mean ± standard deviation over the seeds {seeds}. *Known speakers*: "
        f"the first {summary['settings']['n_known_test']} recordings of every word and speaker are tested on, the "
        "others learnt from. *Unseen speakers*: each is left out of the training in turn and tested on. No recording "
        "that is tested on chose anything in a training; all epochs are run and the last weights stay.",
        _accuracies(summary),
        _chosen(summary),
        "## Confusions",
        "![confusion](confusion.png)",
        _confusions(summary),
        "Counts over all seeds: confusion_known.csv, confusion_unseen.csv.",
        *(
            text
            for part, title in SPLITS.items()
            for text in (f"## Classification report, {title}", _classification(summary, part))
        ),
        "## Features in other classifiers",
        "Features of the training recordings as they are, each brought to mean 0 and spread 1; scikit-learn's own "
        "settings (5 neighbours; C = 1), not tuned. The longest features are the flattened last activation map, "
        "shorter ones a dense layer after it. The network learnt from the same recordings as these classifiers, so its "
        "features fit those better than the ones it is tested on.",
        _classifiers(summary),
        "## First filters",
        f"Of the network for known speakers, seed {summary['seeds'][0]}, by centre frequency. A frequency response is "
        "a property of a linear filter: these say what the network hears only before the first ReLU."
        + (" They started as band-passes on the mel scale." if summary["settings"]["tuned"] else ""),
        "![filters](filters.png)",
        "## Activation maps",
        "![activation maps](activation_maps.png)",
        "## What speaks for the word",
        "Above the STFT (Hann window of 512 samples, hop of 128), below the waveform and activation times gradient of "
        "the word's logit, summed over channels: orange speaks for it, blue against it. "
        f"{sum(heard.said == heard.word for heard in hearing.heard)} of {len(hearing.heard)} of these recordings are "
        "called what they are.",
        "![class activation](class_activation.png)",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _accuracies(summary: Mapping[str, Any]) -> str:
    rows = [
        [
            title,
            f"{summary[part]['n_train']:,}",
            f"{summary[part]['n_test']:,}",
            percent(summary[part]["accuracy"]),
        ]
        for part, title in SPLITS.items()
    ]
    rows += [[f"- {name} unseen", "", "", percent(found)] for name, found in summary["speakers"].items()]
    return "\n".join(table(["tested on", "trained on", "test recordings", "accuracy"], rows))


def _chosen(summary: Mapping[str, Any]) -> str:
    """What the accuracy is where nothing was chosen."""
    if not summary["chosen_on"]:
        return ""
    names = ", ".join(summary["chosen_on"])
    if summary["untouched"] is None:
        return f"The settings were chosen on these speakers ({names}): their figures are optimistic."
    return (
        f"The settings were chosen on {names} as unseen speakers; on the others the accuracy is "
        f"{percent(summary['untouched'])}."
    )


def _confusions(summary: Mapping[str, Any]) -> str:
    rows = [
        [SPLITS[part], actual, called, f"{100 * share:.1f} %"]
        for part in SPLITS
        for actual, called, share in confusions(summary[part]["confusion"], summary["classes"])[
            :_N_CONFUSIONS
        ]
    ]
    return "\n".join(table(["", "actual", "called", "share of the actual"], rows))


def _classification(summary: Mapping[str, Any], part: str) -> str:
    report = classification_report(summary[part]["confusion"], summary["classes"])
    rows = [
        [str(name), *(f"{value:.3f}" for value in row[:3]), f"{row[3]:.0f}"]
        for name, row in zip(report.index, report.to_numpy(), strict=True)
    ]
    return "\n".join(table(["word", "precision", "recall", "F1", "support"], rows))


def _classifiers(summary: Mapping[str, Any]) -> str:
    rows = [["the network itself", "", *(percent(summary[part]["accuracy"]) for part in SPLITS)]]
    for known, unseen in zip(summary["known"]["classifiers"], summary["unseen"]["classifiers"], strict=True):
        rows.append(
            [known["classifier"], known["features"], percent(known["accuracy"]), percent(unseen["accuracy"])]
        )
    return "\n".join(table(["classifier", "features", *SPLITS.values()], rows))
