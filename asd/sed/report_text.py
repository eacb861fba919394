"""The analysis report as a Markdown document and as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

import pandas as pd

from asd.evaluation.markdown import MISSING, plain, signed, table
from asd.sed.report_bootstrap import N_RESAMPLES
from asd.sed.report_findings import best_sentence, findings
from asd.sed.report_numbers import CLASS_MEASURES, COMPARED, MEASURES

NAMES = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "macro_f1": "macro F1",
    "map": "mAP",
    "ece": "ECE",
    "adaptive_ece": "adaptive ECE",
    "brier": "Brier",
    "bias": "bias",
    "ap": "AP",
}
_COLUMNS = 118
_SHOWN = ("accuracy", "precision", "recall", "f1", "macro_f1", "map", "ece")


def as_markdown(summary: Mapping[str, Any], facts: Mapping[str, Mapping[str, str]], title: str) -> str:
    """The whole document; figures lie beside it.

    Args:
        summary: of `report_numbers.summarise`.
        facts: what there is to know of each model: {model: {what: value}}.
        title: heading.
    """
    return "\n".join([*_lines(summary, facts, title), ""])


def _lines(summary: Mapping[str, Any], facts: Mapping[str, Mapping[str, str]], title: str) -> Iterator[str]:
    yield from (f"# {title}", "")
    yield from _how_to_read(summary)
    yield from ("", "## Findings", "")
    for dataset, sentences in findings(summary).items():
        yield from (f"**{dataset}**", "", *(_item(sentence) for sentence in sentences), "")
    yield from ("## Best model per data set", "")
    for best in summary["best"]:
        yield _item(f"{best['network']}, {best['dataset']}: {best_sentence(best)}")
    if facts:
        yield from ("", "## Models")
        for model, known in facts.items():
            yield from ("", f"**{model}**", "", *(_item(f"{what}: {value}") for what, value in known.items()))
    for network, by in summary["found"].items():
        yield from ("", f"## {network}", "", "### Overall", "", *_overall(by))
        for dataset, models in by.items():
            yield from ("", f"### {network}, {dataset}", "")
            yield from _dataset(summary, network, dataset, models)


def _how_to_read(summary: Mapping[str, Any]) -> Iterator[str]:
    seeds = {
        values["n_seeds"]
        for by in summary["found"].values()
        for models in by.values()
        for values in models.values()
    }
    spread = "" if seeds == {1} else " Numbers with ± are means over seeds and their standard deviation."
    yield fill(
        f"A clip is said to have a class above the probability {summary['threshold']}. Precision, recall and F1 count "
        f"all clips and classes together; macro F1 and mAP are means over the classes that occur. ECE is the expected "
        f"calibration error in 10 bins of equal width, the smaller the better.{spread}",
        _COLUMNS,
    )
    yield ""
    yield fill(
        f"Differences are taken before rounding. Brackets hold 95 % of the differences when the clips are drawn again "
        f"({N_RESAMPLES} paired bootstraps); where they include 0, it is a tie. The baseline is {summary['baseline']}.",
        _COLUMNS,
    )


def _item(sentence: str) -> str:
    return fill(
        f"- {sentence}", _COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _overall(by: Mapping[str, Any]) -> list[str]:
    rows = [
        [model, dataset, *(_number(values["overall"][name]) for name in _SHOWN)]
        for dataset, models in by.items()
        for model, values in models.items()
    ]
    return table(["model", "data set", *(NAMES[name] for name in _SHOWN)], rows)


def _number(spread: Mapping[str, float]) -> str:
    return plain(spread["mean"]) + (f" ± {spread['std']:.4f}" if spread["std"] else "")


def _dataset(
    summary: Mapping[str, Any], network: str, dataset: str, models: Mapping[str, Any]
) -> Iterator[str]:
    facts = summary["datasets"][dataset]
    yield f"{facts['n_clips']} clips, {len(facts['classes'])} classes, {sum(facts['n_positive'])} positive labels."
    rows = [row for row in summary["differences"] if (row["network"], row["dataset"]) == (network, dataset)]
    if rows:
        yield from ("", f"Against {summary['baseline']} (a negative ΔECE and ΔBrier is a gain):", "")
        head = ["model", *(f"Δ{NAMES[name]}" for name in COMPARED), "95 % of ΔF1", "verdict"]
        body = [
            [row["model"], *(signed(row[name]) for name in COMPARED),
             f"{signed(row['f1_low'])} to {signed(row['f1_high'])}", row["verdict"]]
            for row in rows
        ]  # fmt: skip
        yield from table(head, body)
    measured = list(dict.fromkeys(name for values in models.values() for name in values["events"]))
    if measured:
        yield from ("", "Events:", "")
        body = [
            [model, *(_number(values["events"][name]) if name in values["events"] else MISSING for name in measured)]
            for model, values in models.items()
        ]  # fmt: skip
        yield from table(["model", *measured], body)
    yield from (
        "",
        f"Classes, by the F1 of {summary['baseline']}:",
        "",
        *_classes(summary["baseline"], models),
    )
    yield from ("", f"![reliability]({figure_name('reliability', network, dataset)})")
    yield f"![classes]({figure_name('classes', network, dataset)})"


def _classes(baseline: str, models: Mapping[str, Any]) -> list[str]:
    """All of the baseline's measures of each class, the F1 and ECE of the others, best class first."""
    rows = models[baseline]["classes"]
    others = [model for model in models if model != baseline]
    order = sorted(rows, key=lambda name: (rows[name]["n_positive"] > 0, rows[name]["f1"]), reverse=True)
    head = ["class", "clips", *(NAMES[name] for name in CLASS_MEASURES)]
    head += [f"{what} {model}" for model in others for what in ("F1", "ECE")]
    body = [
        [name, f"{rows[name]['n_positive']:.0f}", *(plain(rows[name][measure], 3) for measure in CLASS_MEASURES),
         *(plain(models[model]["classes"][name][measure], 3) for model in others for measure in ("f1", "ece"))]
        for name in order
    ]  # fmt: skip
    return table(head, body)


def figure_name(kind: str, network: str, dataset: str) -> str:
    """File of a figure, whatever the data set is called."""
    return f"{kind}_{network}_{re.sub(r'[^A-Za-z0-9_-]+', '-', dataset)}.png"


def overall_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """One row per network, data set and model; each measure and, as <measure>_std, its spread over seeds."""
    return pd.DataFrame(
        [
            {
                "network": network, "dataset": dataset, "model": model, "n_seeds": values["n_seeds"],
                **{name: values["overall"][name]["mean"] for name in MEASURES},
                **{f"{name}_std": values["overall"][name]["std"] for name in MEASURES},
                **{name: spread["mean"] for name, spread in values["events"].items()},
                **{f"{name}_std": spread["std"] for name, spread in values["events"].items()},
            }
            for network, by in summary["found"].items()
            for dataset, models in by.items()
            for model, values in models.items()
        ]
    )  # fmt: skip


def class_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """One row per network, data set, model and class."""
    return pd.DataFrame(
        [
            {"network": network, "dataset": dataset, "model": model, "class": name, **row}
            for network, by in summary["found"].items()
            for dataset, models in by.items()
            for model, values in models.items()
            for name, row in values["classes"].items()
        ]
    )
