"""Paired comparisons of methods, by formulas evaluated the slow way."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.evaluation.comparison import (
    Entry,
    best_elsewhere,
    chosen_by_test_labels,
    chosen_elsewhere,
    importances,
    measured,
    ranked,
    score_elsewhere,
    sign_test,
)
from asd.evaluation.confidence import percentile_interval, resampled_metrics
from asd.metrics import evaluate_table
from asd.types import SCORE_COLUMNS, AsdError


def entry(name: str, **machines: list[float]) -> Entry:
    values = {machine: np.array([[value] * 3 for value in seeds]) for machine, seeds in machines.items()}
    return Entry(name, values, np.array([0.5, 0.6]), "mixed")


def table(strength: float, machine: str, sections: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for section in range(sections):
        for i in range(40):
            domain, label = ("source", "target")[i % 2], ("normal", "anomaly")[i // 2 % 2]
            score = rng.normal() + strength * (label == "anomaly")
            rows.append((machine, f"{section:02d}", domain, "test", label, f"{section}{i:03d}.wav", score, 0))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


@pytest.mark.parametrize("year", [2020, 2021, 2024])
def test_an_entry_has_the_official_score_of_its_tables(year: int) -> None:
    by_seed = {k: pd.concat([table(1.0, "fan", 1, k), table(0.5, "pump", 3, k)]) for k in (0, 1)}
    made = Entry.of("x", by_seed, year)
    expected = [evaluate_table(each, year)["official_score"] for each in by_seed.values()]
    np.testing.assert_allclose(made.scores, expected)
    alone = [evaluate_table(each[each["machine"] == "pump"], year)["official_score"] for each in by_seed.values()]
    assert made.by_machine()["pump"] == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("year", [2020, 2024])
def test_what_was_measured_is_the_mean_over_seeds_with_the_interval_of_the_same_resamples(year: int) -> None:
    by_seed = {k: pd.concat([table(1.0, "fan", 1, k), table(0.5, "pump", 3, k)]) for k in (0, 1)}
    found, made = measured(by_seed, year), Entry.of("x", by_seed, year)
    evaluations = [evaluate_table(each, year)["machines"]["pump"]["02"] for each in by_seed.values()]
    draws = [resampled_metrics(each, year) for each in by_seed.values()]
    sections = found["machines"]["pump"]["sections"]
    assert sections.keys() == {"00", "01", "02"}
    for metric, number in sections["02"].items():
        assert number["value"] == pytest.approx(np.mean([each[metric] for each in evaluations]))
        middle = np.mean([each["pump", "02", metric] for each in draws], axis=0)
        assert (number["low"], number["high"]) == pytest.approx(percentile_interval(middle))
    assert {machine: of["score"]["value"] for machine, of in found["machines"].items()} == pytest.approx(
        made.by_machine()
    )
    only = Entry.of("y", {k: each[each["machine"] == "pump"] for k, each in by_seed.items()}, year)
    assert found["machines"]["pump"]["score"]["value"] == pytest.approx(only.score)
    whole = {"value": made.score, **percentile_interval(made.resampled)._asdict()}
    assert found["score"] == pytest.approx(whole)
    assert found["std"] == pytest.approx(made.scores.std(ddof=1))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=9))
def test_the_sign_test_counts_coins(pairs: list[tuple[int, int]]) -> None:
    names = [str(i) for i in range(len(pairs))]
    wins, losses, p = sign_test(
        dict(zip(names, (float(a) for a, _ in pairs), strict=True)),
        dict(zip(names, (float(b) for _, b in pairs), strict=True)),
    )
    n = sum(a != b for a, b in pairs)
    assert (wins, losses) == (sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))
    tail = sum(comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    assert p == pytest.approx(min(1.0, 2 * tail))


def test_a_choice_is_made_on_the_other_machines() -> None:
    steady = entry("steady", a=[0.7], b=[0.7], c=[0.7])
    lucky = entry("lucky", a=[0.99], b=[0.6], c=[0.6])
    choice = chosen_elsewhere("choice", [steady, lucky])
    assert choice.by_machine() == pytest.approx({"a": 0.7, "b": 0.6, "c": 0.6})  # a's luck is not met: steady on b, c
    assert choice.score == pytest.approx(3 / (1 / 0.7 + 1 / 0.6 + 1 / 0.6))
    best = chosen_by_test_labels("oracle", [steady, lucky])
    assert best.by_machine() == pytest.approx({"a": 0.99, "b": 0.7, "c": 0.7})


def test_a_configuration_is_chosen_on_the_other_machines() -> None:
    scores = pd.DataFrame({"a": [0.7, 0.99], "b": [0.7, 0.6], "c": [0.7, 0.6]})
    assert best_elsewhere(scores, "mixed") == {"a": 0, "b": 1, "c": 1}
    assert score_elsewhere(scores, "mixed") == pytest.approx(3 / (1 / 0.7 + 1 / 0.6 + 1 / 0.6))
    assert score_elsewhere(scores, "per_id") == pytest.approx((0.7 + 0.6 + 0.6) / 3)
    even = pd.DataFrame({"a": [0.9, 0.6], "b": [0.1, 0.3], "c": [0.5, 0.45]})
    assert [best_elsewhere(even, rule)["c"] for rule in ("per_id", "mixed")] == [0, 1]  # means 0.5, 0.45; 0.18, 0.4


def test_options_that_moved_the_score_come_first() -> None:
    options = pd.DataFrame([(view, k, n) for view in ("level", "flux") for k in (1, 2, 4) for n in (0, 1)])
    options.columns = pd.Index(["idle", "small", "large"])
    scores = 0.5 + 0.01 * options["small"] + 0.2 * options["large"]
    found = importances(options, scores)
    assert [*found][:2] == ["large", "small"]
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["large"] > 0.8 > 0.1 > found["small"] > 5 * found["idle"]
    by_name = importances(options.assign(large=options["large"].map({0: "no", 1: "yes"})), scores)
    assert by_name == pytest.approx(found)
    assert importances(options[:3], scores[:3]) == {"idle": 0.0, "small": 0.0, "large": 0.0}
    assert importances(options, scores * 0) == {"idle": 0.0, "small": 0.0, "large": 0.0}


def test_one_candidate_is_its_own_choice_seed_by_seed() -> None:
    alone = entry("alone", a=[0.7, 0.8], b=[0.6, 0.9])
    np.testing.assert_allclose(chosen_elsewhere("x", [alone]).scores, alone.scores)


@given(st.floats(0.01, 0.2), st.integers(0, 1000))
def test_a_constant_advantage_is_never_a_tie(advantage: float, seed: int) -> None:
    """Pairing takes out what both share: the difference has no spread although both scores do."""
    resampled = np.random.default_rng(seed).normal(0.6, 0.1, size=500)
    values = {"fan": np.full((1, 3), 0.6)}
    better = Entry("better", {"fan": values["fan"] + advantage}, resampled + advantage, "mixed")
    board = ranked([Entry("worse", values, resampled, "mixed"), better])
    assert board["run"].tolist() == ["better", "worse"]
    assert not board["tie"][1]
    assert board["difference"][1] == pytest.approx(-advantage)
    assert board["difference_low"][1] == pytest.approx(board["difference_high"][1])


def test_a_reference_that_is_no_entry() -> None:
    with pytest.raises(AsdError, match="reference=x is not on the board"):
        ranked([entry("a", fan=[0.5])], "x")


def test_seeds_that_give_the_same_do_not_spread() -> None:
    same = Entry("same", {"fan": np.full((3, 3), 0.7)}, np.array([0.5, 0.6]), "mixed")
    assert same.scores.std(ddof=1) > 0  # by its rounding
    assert ranked([same])["std"].tolist() == [0.0]
