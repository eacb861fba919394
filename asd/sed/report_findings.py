"""What the numbers of the analysis report say: one sentence each, and none that the numbers do not carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asd.evaluation.markdown import signed

RANKED_BUT_UNSAID = 0.2  # by so much the average precision lies above F1 where only the threshold is to blame


def best_sentence(best: Mapping[str, Any]) -> str:
    """Which model leads on a data set, and whether the clips can tell."""
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
    best = next(row for row in summary["best"] if (row["network"], row["dataset"]) == (network, dataset))
    tied = [other["model"] for other in best["others"] if other["tie"]]
    if tied:
        yield f"{best['model']} has the highest F1 ({best['f1']:.4f}), but ties with {', '.join(tied)}."
    elif best["others"]:
        yield f"{best['model']} has the highest F1 ({best['f1']:.4f}), and the clips settle it against every other."


def _trades(summary: Mapping[str, Any], network: str, dataset: str) -> Iterator[str]:
    """How each model moves precision and recall against the baseline."""
    for row in summary["differences"]:
        if (row["network"], row["dataset"]) != (network, dataset):
            continue
        precision, recall = round(row["precision"], 4), round(row["recall"], 4)  # no story about less
        moves = f"recall {signed(recall)}, precision {signed(precision)}"
        if recall > 0 > precision:
            how = "buys recall with precision"
        elif precision > 0 > recall:
            how = "buys precision with recall"
        elif precision == recall == 0:
            how = "decides alike"
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
    heard = {name: row for name, row in models[baseline]["classes"].items() if row["n_positive"]}
    hardest = min(heard, key=lambda name: heard[name]["f1"])
    yield (
        f"The hardest class of {baseline} is {hardest}: F1 {heard[hardest]['f1']:.3f} over "
        f"{heard[hardest]['n_positive']:.0f} clips that have it."
    )
    unsaid = [name for name, row in heard.items() if row["ap"] - row["f1"] > RANKED_BUT_UNSAID]
    if unsaid:
        yield (
            f"{baseline} ranks {', '.join(unsaid)} far better than it decides (AP above F1 by more than "
            f"{RANKED_BUT_UNSAID}): there the threshold {summary['threshold']} limits it, not its hearing."
        )
    for model, values in models.items():
        gains = {name: values["classes"][name]["f1"] - row["f1"] for name, row in heard.items()}
        up, down = max(gains, key=lambda name: gains[name]), min(gains, key=lambda name: gains[name])
        said = [f"gains most in {up} ({signed(gains[up], 3)})"] if gains[up] > 0 else []
        said += [f"loses most in {down} ({signed(gains[down], 3)})"] if gains[down] < 0 else []
        if said:
            yield f"By class, {model} {' and '.join(said)} of F1."


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
    yield f"Saying nothing at all would have an accuracy of {1 - share:.4f} here: do not read it as a merit."
    silent = [name for name, n in zip(facts["classes"], facts["n_positive"], strict=True) if not n]
    if silent:
        yield f"No clip has {', '.join(silent)}: left out of macro averages and mAP."
    if all(values["n_seeds"] == 1 for values in summary["found"][network][dataset].values()):
        yield "One seed per model: the intervals know the choice of clips, not that of the seed."
