"""The analysis report as a page: findings in sentences, and sections with tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asd.evaluation.confidence import N_RESAMPLES
from asd.evaluation.markdown import MISSING, Section, plain, signed
from asd.sed.report_numbers import CLASS_MEASURES, COMPARED

_NAMES = {
    "f1": "F1",
    "macro_f1": "macro F1",
    "map": "mAP",
    "ece": "ECE",
    "brier": "Brier",
    "ap": "AP",
}  # of those that are called otherwise
_SHOWN = ("accuracy", "precision", "recall", "f1", "macro_f1", "map", "ece")
RANKED_BELOW_THRESHOLD = 0.2  # by so much the average precision lies above F1 where only the threshold limits it


def sections_of(summary: Mapping[str, Any], facts: Mapping[str, Mapping[str, str]]) -> list[Section]:
    """What the whole document holds; figures lie beside it."""
    sections = [
        Section(text=_how_to_read(summary)),
        Section(
            text="Differences are taken before rounding. Brackets hold 95 % of the differences when the clips are "
            f"drawn again ({N_RESAMPLES} paired bootstraps); where they include 0, it is a tie. The baseline is "
            f"{summary['baseline']}."
        ),
        Section("Findings"),
        *(Section(text=f"**{name}**", points=sentences) for name, sentences in findings(summary).items()),
        Section(
            "Best model per data set",
            points=[f"{best['network']}, {best['dataset']}: {_best_sentence(best)}" for best in summary["best"]],
        ),
        *([Section("Models")] if facts else []),
        *(
            Section(text=f"**{model}**", points=[f"{what}: {value}" for what, value in known.items()])
            for model, known in facts.items()
        ),
    ]
    for network, by in summary["found"].items():
        sections += [Section(network), _overall(by)]
        for dataset, models in by.items():
            sections += _dataset(summary, network, dataset, models)
    return sections


def _how_to_read(summary: Mapping[str, Any]) -> str:
    seeds = {
        values["n_seeds"] for by in summary["found"].values() for models in by.values() for values in models.values()
    }
    several = "" if seeds == {1} else " Numbers with ± are means over seeds and their standard deviation."
    return (
        f"A clip is predicted to have a class above the probability {summary['threshold']}. Precision, recall and F1 "
        f"count all clips and classes together; macro F1 and mAP are means over the classes that occur. ECE is the "
        f"expected calibration error in 10 bins of equal width, the smaller the better.{several}"
    )


def _overall(by: Mapping[str, Any]) -> Section:
    rows = [
        [model, dataset, *(_number(values["overall"][name]) for name in _SHOWN)]
        for dataset, models in by.items()
        for model, values in models.items()
    ]
    return Section(
        "Overall", head=["model", "data set", *(_NAMES.get(name, name) for name in _SHOWN)], rows=rows, level=3
    )


def _rows(every: Sequence[dict[str, Any]], network: str, dataset: str) -> list[dict[str, Any]]:
    return [row for row in every if (row["network"], row["dataset"]) == (network, dataset)]


def _number(found: Mapping[str, float]) -> str:
    return plain(found["mean"]) + (f" ± {found['std']:.4f}" if found["std"] else "")


def _dataset(summary: Mapping[str, Any], network: str, dataset: str, models: Mapping[str, Any]) -> Iterator[Section]:
    facts, baseline = summary["datasets"][dataset], summary["baseline"]
    yield Section(
        f"{network}, {dataset}",
        f"{facts['n_clips']} clips, {len(facts['classes'])} classes, {sum(facts['n_positive'])} positive labels.",
        level=3,
    )
    differences = _rows(summary["differences"], network, dataset)
    yield Section(
        text=f"Against {baseline} (a negative ΔECE and ΔBrier is a gain):" if differences else "",
        head=["model", *(f"Δ{_NAMES.get(name, name)}" for name in COMPARED), "95 % of ΔF1", "verdict"],
        rows=[
            [row["model"], *(signed(row[name]) for name in COMPARED),
             f"{signed(row['f1_low'])} to {signed(row['f1_high'])}", row["verdict"]]
            for row in differences
        ],
    )  # fmt: skip
    if measured := list(dict.fromkeys(name for values in models.values() for name in values["events"])):
        rows = [
            [model, *(_number(values["events"][name]) if name in values["events"] else MISSING for name in measured)]
            for model, values in models.items()
        ]  # fmt: skip
        yield Section(text="Events:", head=["model", *measured], rows=rows)
    figures = [figure_name(kind, network, dataset) for kind in ("reliability", "classes")]
    head, rows = _class_rows(baseline, models)
    yield Section(text=f"Classes, by the F1 of {baseline}:", head=head, rows=rows, figures=figures)


def _class_rows(baseline: str, models: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """All of the baseline's measures of each class, the F1 and ECE of the others, best class first."""
    classes = models[baseline]["classes"]
    others = [model for model in models if model != baseline]
    order = sorted(classes, key=lambda name: (classes[name]["n_positive"] > 0, classes[name]["f1"]), reverse=True)
    head = ["class", "clips", *(_NAMES.get(name, name) for name in CLASS_MEASURES)]
    head += [f"{what} {model}" for model in others for what in ("F1", "ECE")]
    return head, [
        [name, f"{classes[name]['n_positive']:.0f}",
         *(plain(classes[name][measure], 3) for measure in CLASS_MEASURES),
         *(plain(models[model]["classes"][name][measure], 3) for model in others for measure in ("f1", "ece"))]
        for name in order
    ]  # fmt: skip


def figure_name(kind: str, network: str, dataset: str) -> str:
    """File of a figure without ".png", whatever the data set is called."""
    return f"{kind}_{network}_{re.sub(r'[^A-Za-z0-9_-]+', '-', dataset)}"


def _best_sentence(best: Mapping[str, Any]) -> str:
    """Which model leads on a data set, and whether the clips settle it."""
    head = f"{best['model']} (F1 {best['f1']:.4f})"
    if not best["others"]:
        return f"{head}, the only one"
    behind = [
        f"{other['model']} by {other['difference']:.4f} [{signed(other['low'])} to {signed(other['high'])}]"
        + (", a tie" if other["tie"] else "")
        for other in sorted(best["others"], key=lambda other: other["difference"])
    ]
    return f"{head}, ahead of {'; of '.join(behind)}"


def findings(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """Sentences per data set, about the first network, and one about the others."""
    network = next(iter(summary["found"]))
    return {
        dataset: [
            *_leaders(summary, network, dataset),
            *_trades(summary, network, dataset),
            *_classes(summary, network, dataset),
            *_calibration(summary["found"][network][dataset]),
            *_other_networks(summary, network, dataset),
            *_caveats(summary, network, dataset),
        ]
        for dataset in summary["datasets"]
    }


def _leaders(summary: Mapping[str, Any], network: str, dataset: str) -> Iterator[str]:
    (best,) = _rows(summary["best"], network, dataset)
    if tied := [other["model"] for other in best["others"] if other["tie"]]:
        yield f"{best['model']} has the highest F1 ({best['f1']:.4f}), but ties with {', '.join(tied)}."
    elif best["others"]:
        yield f"{best['model']} has the highest F1 ({best['f1']:.4f}), and the clips settle it against every other."


def _trades(summary: Mapping[str, Any], network: str, dataset: str) -> Iterator[str]:
    """How each model moves precision and recall against the baseline."""
    for row in _rows(summary["differences"], network, dataset):
        precision, recall = round(row["precision"], 4), round(row["recall"], 4)  # as printed
        moves = f"recall {signed(recall)}, precision {signed(precision)}"
        if recall > 0 > precision:
            how = "buys recall with precision"
        elif precision > 0 > recall:
            how = "buys precision with recall"
        elif precision == recall == 0:
            how = "decides alike"
        elif not precision or not recall:
            how = f"{'gains' if precision + recall > 0 else 'loses'} {'recall' if recall else 'precision'} alone"
        else:
            how = "is better in both" if precision + recall > 0 else "is worse in both"
        settled = {"better": "a gain", "worse": "a loss", "tie": "a tie"}[row["verdict"]]
        yield (
            f"{row['model']} {how} against {summary['baseline']} ({moves}): F1 {signed(row['f1'])} "
            f"[{signed(row['f1_low'])} to {signed(row['f1_high'])}], {settled}."
        )


def _classes(summary: Mapping[str, Any], network: str, dataset: str) -> Iterator[str]:
    """Where the baseline is weak, and where the others win and lose against it."""
    baseline, models = summary["baseline"], summary["found"][network][dataset]
    present = {name: row for name, row in models[baseline]["classes"].items() if row["n_positive"]}
    hardest = min(present, key=lambda name: present[name]["f1"])
    yield (
        f"The hardest class of {baseline} is {hardest}: F1 {present[hardest]['f1']:.3f} over "
        f"{present[hardest]['n_positive']:.0f} clips that have it."
    )
    if ranked := [name for name, row in present.items() if row["ap"] - row["f1"] > RANKED_BELOW_THRESHOLD]:
        yield (
            f"{baseline} ranks {', '.join(ranked)} far better than it decides (AP above F1 by more than "
            f"{RANKED_BELOW_THRESHOLD}): the threshold {summary['threshold']} limits it, not the order of its scores."
        )
    for model, values in models.items():
        gains = {name: values["classes"][name]["f1"] - row["f1"] for name, row in present.items()}
        up, down = max(gains, key=lambda name: gains[name]), min(gains, key=lambda name: gains[name])
        moves = [f"gains most in {up} ({signed(gains[up], 3)})"] if gains[up] > 0 else []
        moves += [f"loses most in {down} ({signed(gains[down], 3)})"] if gains[down] < 0 else []
        if moves:
            yield f"By class, {model} {' and '.join(moves)} of F1."


def _calibration(models: Mapping[str, Any]) -> Iterator[str]:
    error = {model: values["overall"]["ece"]["mean"] for model, values in models.items()}
    best = min(error, key=lambda model: error[model])
    bias = models[best]["overall"]["bias"]["mean"]
    side = "too high" if bias > 0 else "too low"
    by_class = {name: row["ece"] for name, row in models[best]["classes"].items() if row["n_positive"]}
    worst = max(by_class, key=lambda name: by_class[name])
    yield (
        f"{best} is calibrated best (ECE {error[best]:.4f}); its probabilities are {side} by {abs(bias):.4f} on "
        f"average, and those of {worst} are off most (ECE {by_class[worst]:.4f})."
    )


def _other_networks(summary: Mapping[str, Any], network: str, dataset: str) -> Iterator[str]:
    rows = [row for row in summary["networks"] if row["dataset"] == dataset]
    for other in dict.fromkeys(row["network"] for row in rows):
        words = [
            f"{row['model']} {signed(row['f1'])}" + (" (tie)" if row["verdict"] == "tie" else "")
            for row in rows
            if row["network"] == other
        ]
        yield f"F1 of the {other} minus that of the {network}: {', '.join(words)}."


def _caveats(summary: Mapping[str, Any], network: str, dataset: str) -> Iterator[str]:
    facts = summary["datasets"][dataset]
    share = sum(facts["n_positive"]) / (facts["n_clips"] * len(facts["classes"]))
    yield f"Predicting no class at all would have an accuracy of {1 - share:.4f} here; accuracy says little."
    if absent := [name for name, n in zip(facts["classes"], facts["n_positive"], strict=True) if not n]:
        yield f"No clip has {', '.join(absent)}: left out of macro averages and mAP."
    if all(values["n_seeds"] == 1 for values in summary["found"][network][dataset].values()):
        yield "One seed per model: the intervals cover the choice of clips, not that of the seed."
