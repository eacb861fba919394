"""Metrics against scikit-learn, against their mathematical properties, and against bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import hmean
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from asd.evaluation.confidence import decision_intervals, resampled_scores
from asd.metrics import (
    aggregate,
    auc,
    decision_metrics,
    evaluate_table,
    harmonic_mean,
    official_score,
    pauc,
    precision_recall_f1,
)
from asd.types import SCORE_COLUMNS, AsdError

Labelled = tuple[NDArray[np.bool_], NDArray[np.float64]]


@st.composite
def labelled_scores(draw: st.DrawFn) -> Labelled:
    """Labels with both classes, and scores with anything from no ties to nothing but ties."""
    size = draw(st.integers(2, 40))
    is_anomaly = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    is_anomaly[0], is_anomaly[-1] = True, False
    n_levels = draw(st.integers(1, 50))
    levels = draw(st.lists(st.integers(0, n_levels), min_size=size, max_size=size))
    return is_anomaly, np.array(levels) * draw(st.sampled_from([1.0, 0.1, -3e-9, 1e12]))


properties = settings(max_examples=100)


@properties
@given(labelled_scores(), st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.99, 1.0]))
def test_equals_scikit_learn_to_the_last_bit(data: Labelled, max_fpr: float) -> None:
    is_anomaly, scores = data
    assert auc(is_anomaly, scores) == roc_auc_score(is_anomaly, scores)
    assert pauc(is_anomaly, scores, max_fpr) == roc_auc_score(is_anomaly, scores, max_fpr=max_fpr)


@properties
@given(labelled_scores())
def test_auc_is_the_chance_that_an_anomaly_scores_higher(data: Labelled) -> None:
    is_anomaly, scores = data
    difference = scores[is_anomaly][:, None] - scores[~is_anomaly]
    assert auc(is_anomaly, scores) == pytest.approx(np.mean((np.sign(difference) + 1) / 2), abs=1e-12)


@properties
@given(labelled_scores())
def test_monotone_transform_changes_nothing(data: Labelled) -> None:
    is_anomaly, scores = data
    ranks = np.unique(scores, return_inverse=True)[1]
    for metric in (auc, pauc):
        assert metric(is_anomaly, scores) == metric(is_anomaly, np.exp(ranks / 10))


@properties
@given(labelled_scores())
def test_negation_turns_auc_round(data: Labelled) -> None:
    is_anomaly, scores = data
    assert auc(is_anomaly, -scores) == pytest.approx(1 - auc(is_anomaly, scores), abs=1e-12)


@properties
@given(labelled_scores(), st.integers(0, 99))
def test_order_of_clips_changes_nothing(data: Labelled, seed: int) -> None:
    is_anomaly, scores = data
    order = np.random.default_rng(seed).permutation(scores.size)
    for metric in (auc, pauc):
        assert metric(is_anomaly, scores) == metric(is_anomaly[order], scores[order])


def test_known_values() -> None:
    is_anomaly = [False, False, True, True]
    assert auc(is_anomaly, [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert auc(is_anomaly, [1, 2, 3, 4]) == pauc(is_anomaly, [1, 2, 3, 4]) == 1.0
    assert auc(is_anomaly, [7, 7, 7, 7]) == 0.5
    assert pauc(is_anomaly, [7, 7, 7, 7]) == pytest.approx(0.5, abs=1e-15)
    assert pauc(is_anomaly, [4, 3, 2, 1]) == pytest.approx(9 / 19, abs=1e-15)  # McClish's floor at 0.1


@pytest.mark.parametrize(
    ("is_anomaly", "scores", "message"),
    [
        ([True, True], [1, 2], "both classes, got 0 normal and 2 anomalous"),
        ([False], [1], "both classes, got 1 normal and 0 anomalous"),
        ([], [], "both classes, got 0 normal and 0 anomalous"),
        ([True, False], [1, np.nan], "1 of 2 scores are NaN or infinite"),
        ([True, False], [np.inf, -np.inf], "2 of 2 scores are NaN or infinite"),
        ([True, False], [1, 2, 3], "equal length"),
    ],
)
@pytest.mark.parametrize("metric", [auc, pauc])
def test_impossible_input(
    metric: Callable[..., float], is_anomaly: list[bool], scores: list[float], message: str
) -> None:
    with pytest.raises(AsdError, match=message):
        metric(is_anomaly, scores)


@pytest.mark.parametrize("max_fpr", [0, -0.1, 1.1, np.nan])
def test_max_fpr_out_of_range(max_fpr: float) -> None:
    with pytest.raises(AsdError, match=r"max_fpr must lie in \(0, 1\]"):
        pauc([True, False], [1, 0], max_fpr)


@properties
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_decisions_equal_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    truth, called = np.array(pairs).T
    expected = precision_recall_fscore_support(truth, called, average="binary", zero_division=0)[:3]
    assert precision_recall_f1(truth, called.astype(int)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "decisions", "message"),
    [
        ([0, 1], [1], r"two lists of equal length, got \(2,\) and \(1,\)"),
        ([0, 1], [0.2, 0.7], "decisions have to be 0 of normal clips .* got 0.2"),
        ([0, 2], [0, 1], "labels have to be 0 .* got 2"),
        ([0, None], [0, 1], "labels have to be 0 .* got None"),
    ],
)
def test_decisions_that_are_none_are_refused(labels: list[Any], decisions: list[Any], message: str) -> None:
    for measure in (precision_recall_f1, decision_intervals):
        with pytest.raises(AsdError, match=message):
            measure(labels, decisions)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([], r"of one section or more, got \[\]"),
        ([{"auc": 90.0, "pauc": 0.7}], r"metrics in \[0, 1\] .* got \[90"),
        ([{"auc": np.nan, "pauc": 0.7}], r"metrics in \[0, 1\] .* got \[nan"),
        ([{"auc": 0.9}], "a section has no pauc, which the official score of 2020 averages"),
    ],
)
def test_an_official_score_of_no_metrics_is_refused(sections: list[dict[str, float]], message: str) -> None:
    with pytest.raises(AsdError, match=message):
        official_score(sections, 2020)


def test_calling_everything_anomalous_gives_two_thirds() -> None:
    assert precision_recall_f1([True, False], [1, 1]) == (0.5, 1.0, pytest.approx(2 / 3))


def test_means_are_those_of_the_last_axis() -> None:
    values = np.random.default_rng(0).uniform(0.1, 1, (3, 5))
    assert aggregate(values, "per_id") == pytest.approx([np.mean(row) for row in values])
    assert harmonic_mean(values) == pytest.approx([hmean(row) for row in values])


def test_harmonic_mean_is_floored() -> None:
    values = np.array([[0.5, 0.25, 1.0], [0.0, 0.5, 1.0]])
    np.testing.assert_allclose(harmonic_mean(values)[0], hmean(values[0]), rtol=1e-15)
    assert 0 < harmonic_mean(values)[1] < 1e-15


def make_table(seed: int = 0, *, machines: str = "fan valve", sections: str = "00 01", n: int = 8) -> pd.DataFrame:
    """A score table with `n` clips per machine, section, domain and label, and distinct scores."""
    rng = np.random.default_rng(seed)
    rows = [
        (m, s, d, "test", label, f"{d}_{label}_{i}.wav", rng.normal() + (label == "anomaly"), rng.integers(2))
        for m in machines.split()
        for s in sections.split()
        for d in ("source", "target")
        for label in ("normal", "anomaly")
        for i in range(n)
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def sklearn_auc(rows: pd.DataFrame, max_fpr: float | None = None) -> float:
    return float(roc_auc_score(rows["label"] == "anomaly", rows["score"], max_fpr=max_fpr))


def by_machine_and_section(table: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    return {(str(key[0]), str(key[1])): rows for key, rows in table.groupby(["machine", "section"])}


def test_rule_of_2020() -> None:
    table = make_table().assign(domain=np.nan)
    result = evaluate_table(table, 2020)
    values = []
    for (machine, section), rows in by_machine_and_section(table).items():
        metrics = result["machines"][machine][section]
        assert list(metrics) == ["auc", "pauc", "precision", "recall", "f1", "false_alarms"]
        normal = rows[rows["label"] == "normal"]
        assert metrics["false_alarms"] == normal["decision"].mean()
        assert [metrics["auc"], metrics["pauc"]] == [sklearn_auc(rows), sklearn_auc(rows, 0.1)]
        values += [metrics["auc"], metrics["pauc"]]
    assert result["official_score"] == pytest.approx(np.mean(values), abs=1e-12)


def test_rule_of_2021_never_mixes_domains() -> None:
    table = make_table()
    result = evaluate_table(table, 2021)
    values = []
    for (machine, section), rows in by_machine_and_section(table).items():
        for domain in ("source", "target"):
            own = rows[rows["domain"] == domain]
            metrics = result["machines"][machine][section]
            assert metrics[f"auc_{domain}"] == sklearn_auc(own)
            assert metrics[f"pauc_{domain}"] == sklearn_auc(own, 0.1)
            values += [metrics[f"auc_{domain}"], metrics[f"pauc_{domain}"]]
    assert result["official_score"] == pytest.approx(hmean(values), abs=1e-12)


@pytest.mark.parametrize("year", range(2022, 2027))
def test_rule_since_2022_takes_anomalies_of_both_domains(year: int) -> None:
    table = make_table()
    result = evaluate_table(table, year)
    values = []
    for (machine, section), rows in by_machine_and_section(table).items():
        metrics = result["machines"][machine][section]
        for domain in ("source", "target"):
            own = rows[rows["domain"] == domain]
            assert metrics[f"auc_{domain}"] == sklearn_auc(
                rows[(rows["domain"] == domain) | (rows["label"] == "anomaly")]
            )
            expected = precision_recall_fscore_support(
                own["label"] == "anomaly", own["decision"] == 1, average="binary", zero_division=0
            )
            got = [metrics[f"{name}_{domain}"] for name in ("precision", "recall", "f1")]
            assert got == pytest.approx(expected[:3], abs=1e-12)
            alarms = own["decision"][own["label"] == "normal"]
            assert metrics[f"false_alarms_{domain}"] == alarms.mean()
        assert metrics["pauc"] == sklearn_auc(rows, 0.1)
        values += [metrics[name] for name in ("auc_source", "auc_target", "pauc")]
    assert result["official_score"] == pytest.approx(hmean(values), abs=1e-12)


def test_without_decisions_there_is_no_f1() -> None:
    for table in (make_table().assign(decision=np.nan), make_table().drop(columns="decision")):
        metrics = evaluate_table(table, 2025)["machines"]["fan"]["00"]
        assert list(metrics) == ["auc_source", "auc_target", "pauc"]


def test_only_test_rows_count_and_their_order_does_not() -> None:
    table = make_table()
    noise = make_table(1).assign(split="train", label="normal")
    mixed = pd.concat([noise, table]).sample(frac=1, random_state=0)
    assert evaluate_table(mixed, 2024) == evaluate_table(table, 2024)


def test_one_worthless_metric_takes_the_official_score_to_nought() -> None:
    sections = [{"auc_source": 0.0, "auc_target": 1.0, "pauc": 1.0}]
    assert 0 < official_score(sections, 2024) < 1e-15


def drop(table: pd.DataFrame, domain: str, label: str) -> pd.DataFrame:
    gone = (table["machine"] == "fan") & (table["section"] == "01")
    return table[~(gone & (table["domain"] == domain) & (table["label"] == label))]


def test_missing_domain_or_label_is_named() -> None:
    table = make_table()
    with pytest.raises(AsdError, match="fan section 01 has no test clips labelled normal of the target domain"):
        evaluate_table(drop(table, "target", "normal"), 2024)
    with pytest.raises(AsdError, match="labelled anomaly of the source domain, so auc_source cannot be computed"):
        evaluate_table(drop(table, "source", "anomaly"), 2021)
    without = drop(drop(table, "source", "anomaly"), "target", "anomaly")
    with pytest.raises(AsdError, match="fan section 01 has no test clips labelled anomaly, so auc cannot"):
        evaluate_table(without, 2020)
    evaluate_table(drop(table, "source", "anomaly"), 2024)  # the target's anomalies suffice


def test_data_of_one_condition_are_told_the_rule_that_works() -> None:
    table = make_table()
    one = table[table["domain"] == "source"]
    with pytest.raises(AsdError, match=r"normal of the target domain, .* with year=2020$"):
        evaluate_table(one, 2024)
    assert 0 < evaluate_table(one, 2020)["official_score"] < 1
    assert evaluate_table(one.assign(domain=""), 2020) == evaluate_table(one, 2020)
    with pytest.raises(AsdError, match=r"leave the machine out with machine=$"):  # no rule would work
        evaluate_table(one[one["label"] == "normal"], 2024)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("score", np.nan, "fan section 00, source_normal_0.wav, has score nan: give a finite number"),
        ("score", np.inf, "has score inf: give a finite number"),
        ("label", np.nan, "has label nan: give one of normal, anomaly"),
        ("domain", "Source", "has domain 'Source': give one of source, target"),
        ("domain", "", "has domain '': name source or target, or take the rule .* with year=2020"),
        ("decision", 2, "has decision 2: give 0 or 1"),
        ("decision", np.nan, "has decision nan: give a finite number"),
    ],
)
def test_bad_value_is_named(column: str, value: object, message: str) -> None:
    table = make_table().astype({column: object})
    table.loc[0, column] = value
    with pytest.raises(AsdError, match=message):
        evaluate_table(table, 2024)


def test_no_test_rows_and_unknown_year() -> None:
    with pytest.raises(AsdError, match="128 rows and none of them is of the test split"):
        evaluate_table(make_table().assign(split="train"), 2024)
    with pytest.raises(AsdError, match="2019"):
        evaluate_table(make_table(), 2019)


def test_a_table_without_a_column_is_refused() -> None:
    with pytest.raises(AsdError, match="the score table has no column split, domain; it needs machine, section"):
        evaluate_table(make_table().drop(columns=["domain", "split"]), 2024)
    with pytest.raises(AsdError, match="the score table has no column file; it needs machine"):
        resampled_scores(make_table().drop(columns="file"), 2020)


@pytest.mark.parametrize("labels", [["normal", "anomaly"], ["0", "1"], [-1, 1], [1, 2], [0.0, float("nan")]])
def test_labels_that_are_neither_true_nor_false_are_refused(labels: list[object]) -> None:
    with pytest.raises(AsdError, match="labels have to be 0 of normal clips and 1 of anomalous ones"):
        auc(labels, [0.1, 0.2])


def test_metrics_of_decisions_have_their_plain_names_or_a_suffix() -> None:
    truth, decided = np.array([True, True, False, False, False]), np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    expected = {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "false_alarms": 1 / 3}
    assert decision_metrics(truth, decided) == pytest.approx(expected)
    assert decision_metrics(truth, decided, "_source") == pytest.approx(
        {f"{name}_source": value for name, value in expected.items()}
    )
