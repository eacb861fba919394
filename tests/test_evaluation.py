from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from asd.evaluation.tables import (
    as_markdown,
    as_rows,
    decisions_as_markdown,
    development_results,
    evaluate_tables,
    measure_name,
    rule_name,
)
from asd.metrics import evaluate_table
from asd.types import SCORE_COLUMNS, AsdError


def score_table(seed: int, machines: tuple[str, ...] = ("fan", "valve"), sections: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (machine, f"{section:02d}", domain, "test", label, f"{domain}_{label}_{i}.wav", rng.normal(), 1)
        for machine in machines
        for section in range(sections)
        for domain in ("source", "target")
        for label in ("normal", "anomaly")
        for i in range(8)
    ]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    table["score"] += 1.0 * (table["label"] == "anomaly")
    return table


TABLES = {"a": {0: score_table(0), 1: score_table(1), 2: score_table(2)}, "b": {0: score_table(3)}}


def test_values_are_means_over_seeds_with_their_spread() -> None:
    evaluation = evaluate_tables(TABLES, 2025, "a")
    alone = [evaluate_table(table, 2025) for table in TABLES["a"].values()]
    scores = [one["official_score"] for one in alone]
    result = evaluation["scorers"]["a"]
    assert result["official_score"] == pytest.approx(np.mean(scores))
    assert result["official_score_std"] == pytest.approx(np.std(scores, ddof=1))
    expected = np.mean([one["machines"]["fan"]["00"]["auc_target"] for one in alone])
    assert result["machines"]["fan"]["00"]["auc_target"] == pytest.approx(expected)
    assert evaluation["seeds"] == [0, 1, 2]
    assert list(evaluation["scorers"]) == ["a", "b"]
    low, high = result["official_score_bootstrap95"]
    assert low < scores[0] < high


def test_the_default_comes_first_and_must_exist() -> None:
    assert list(evaluate_tables(TABLES, 2025, "b")["scorers"]) == ["b", "a"]
    with pytest.raises(AsdError, match="scorer=c is not among the run's scorers: a, b"):
        evaluate_tables(TABLES, 2025, "c")


def test_rows_hold_every_number() -> None:
    evaluation = evaluate_tables(TABLES, 2025, "a")
    rows = as_rows(evaluation)
    fan = rows[(rows["scorer"] == "a") & (rows["machine"] == "fan")].iloc[0]
    assert fan["pauc"] == evaluation["scorers"]["a"]["machines"]["fan"]["00"]["pauc"]
    assert len(rows) == 2 * (2 + 1)


def test_markdown_is_short_on_demand() -> None:
    evaluation = evaluate_tables(TABLES, 2025, "a")
    full, short = as_markdown(evaluation, "run"), as_markdown(evaluation, "run", full=False)
    assert full.count("| fan ") == 4  # areas and decisions of two scorers
    assert short.count("| fan ") == 2
    (decided,) = (line for line in short.splitlines() if "false alarms" in line)
    of_domains = [f"{name} {domain}" for domain in ("source", "target") for name in ("F1", "precision", "recall")]
    assert [cell for cell in re.split(r" *\| *", decided) if cell and "alarms" not in cell][2:] == of_domains
    assert f"b: official score {100 * evaluation['scorers']['b']['official_score']:.2f}" in short
    a = evaluation["scorers"]["a"]
    spread = f"{100 * a['official_score']:.2f} ± {100 * a['official_score_std']:.2f} over 3 seeds"
    low, high = (f"{100 * x:.2f}" for x in a["official_score_bootstrap95"])
    assert f"**official score {spread}**; 95 % of bootstrapped clips {low} to {high}" in short


def test_plain_areas_and_decisions_are_told_of_each_domain_where_all_clips_tell_theirs() -> None:
    table = score_table(0, ("fan",))
    table["decision"] = (table["score"] > 0.5).astype(int)

    def plain(table: pd.DataFrame) -> dict[str, float]:
        return evaluate_tables({"a": {0: table}}, 2020, "a", plain=True)["scorers"]["a"]["machines"]["fan"]["00"]

    found = plain(table)
    for domain, clips in table.groupby("domain"):
        truth = clips["label"] == "anomaly"
        assert found[f"auc_{domain}"] == pytest.approx(roc_auc_score(truth, clips["score"]))
        assert found[f"pauc_{domain}"] == pytest.approx(roc_auc_score(truth, clips["score"], max_fpr=0.1))
        assert found[f"recall_{domain}"] == pytest.approx(clips["decision"][truth].mean())
        assert found[f"false_alarms_{domain}"] == pytest.approx(clips["decision"][~truth].mean())
    assert found["auc_source"] != found["auc_target"]
    evaluation = evaluate_tables({"a": {0: table}}, 2020, "a", plain=True)
    intervals = evaluation["scorers"]["a"]["decisions95"]["fan"]["00"]
    assert intervals.keys() == {"precision", "recall", "f1", "false_alarms"} & found.keys()
    shown = "{:.2f} ({:.0f} to {:.0f})".format(*(100 * x for x in (found["recall"], *intervals["recall"])))
    assert shown in as_markdown(evaluation, "run")
    unknown = table.assign(domain=["", *table["domain"][1:]])
    assert "auc_source" not in plain(unknown)
    assert "auc_source" not in plain(table[table["domain"] == "source"])
    half = plain(table[(table["domain"] == "source") | (table["label"] == "normal")])
    assert half["auc_source"] == found["auc_source"]
    assert "auc_target" not in half


def test_a_table_of_decisions_counts_alarms_of_each_domain() -> None:
    table = score_table(0)
    table["decision"] = (table["score"] > 0.5).astype(int)
    head, _, *rows = decisions_as_markdown(evaluate_tables({"a": {0: table}}, 2025, "a")).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    assert cells[0][2:] == ["false alarms source", "false alarms target", "recall source", "recall target"]
    alarms = table.groupby(["machine", "domain", "label"])["decision"].mean() * 100
    for machine, row in zip(("fan", "valve"), cells[1:], strict=False):
        expected = [alarms[machine, d, label] for label in ("normal", "anomaly") for d in ("source", "target")]
        assert [float(cell.split()[0]) for cell in row[2:]] == pytest.approx(expected, abs=0.005)
    assert cells[3][0] == "mean"
    assert float(cells[3][2]) == pytest.approx(alarms[:, "source", "normal"].mean(), abs=0.005)
    nameless = table.assign(domain="", file=[f"{i}.wav" for i in range(len(table))])
    with pytest.raises(AsdError, match="needs those of both domains"):
        decisions_as_markdown(evaluate_tables({"a": {0: nameless}}, 2020, "a"))


@pytest.mark.parametrize(
    ("year", "keys", "mean"),
    [
        (2020, ("averaged_auc", "averaged_pauc"), "arithmetic"),
        (2022, ("harmonic_mean_auc_source", "harmonic_mean_auc_target", "harmonic_mean_pauc"), "harmonic"),
    ],
)
def test_development_results_average_sections_as_the_year_does(year: int, keys: tuple[str, ...], mean: str) -> None:
    table = score_table(0, sections=3)
    if year == 2020:
        table["domain"] = ""
        table["file"] = [f"{i}.wav" for i in range(len(table))]
    evaluation = evaluate_tables({"a": {0: table}}, year, "a")
    results = development_results(evaluation, "a", keys)
    assert set(results) == {"fan", "valve"}
    sections = evaluation["scorers"]["a"]["machines"]["fan"].values()
    metric = keys[0].removeprefix("averaged_").removeprefix("harmonic_mean_")
    values = np.array([section[metric] for section in sections])
    expected = values.mean() if mean == "arithmetic" else len(values) / (1 / values).sum()
    assert results["fan"][keys[0]] == pytest.approx(100 * expected)
    with pytest.raises(AsdError, match=r"asks for harmonic_mean_eer of fan; results are auc.*: leave it out there"):
        development_results(evaluation, "a", ("harmonic_mean_eer",))


def test_scores_of_which_any_is_plain_are_not_called_official() -> None:
    assert measure_name({rule_name(year, plain=False) for year in (2020, 2021, 2025)}) == "official score"
    assert measure_name({rule_name(2020, plain=True), "mixed"}) == "AUC and pAUC"
