"""Methods side by side on the same clips: scores per seed, paired differences, what choosing is worth, what mattered.

Two methods differ by what they differ on the same resampled clips (a paired bootstrap): that interval is narrower
than those of the two scores, because a hard clip is hard for both. Over machines there is a sign test: one clip more
or less decides little, a machine more or less decides a lot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtr

from asd.challenge.years import MetricRule, get_year
from asd.evaluation.confidence import percentile_interval, resampled_metrics, resampled_scores
from asd.evaluation.markdown import spread
from asd.evaluation.score_table import FloatArray
from asd.metrics import aggregate, evaluate_table, score_metrics
from asd.types import AsdError

_LEAST = 4  # configurations without which nothing can be said

Key = tuple[str, str, str]  # machine, section, metric
BySeed = Mapping[int, pd.DataFrame]  # seed -> score table of all machines


@dataclass(frozen=True)
class Entry:
    """One method on all machines."""

    name: str  # of the method
    # what the official score averages, per machine: (seeds, metrics of all its sections)
    values: Mapping[str, FloatArray]
    resampled: FloatArray  # official score on resampled clips, mean over seeds, (n_resamples,)
    rule: MetricRule  # how the official score averages

    @classmethod
    def of(cls, name: str, by_seed: BySeed, year: int) -> Entry:
        """A method by its score tables {seed: table of all machines}; every entry gets the same resamples."""
        evaluations = [evaluate_table(table, year)["machines"] for table in by_seed.values()]
        values = {
            machine: np.array([score_metrics(each[machine].values(), year) for each in evaluations])
            for machine in evaluations[0]
        }
        resampled = [resampled_scores(table, year) for table in by_seed.values()]
        return cls(name, values, np.mean(resampled, axis=0), get_year(year).rule)

    @property
    def machines(self) -> list[str]:
        """Machines that were scored, sorted."""
        return sorted(self.values)

    @property
    def scores(self) -> FloatArray:
        """Official score per seed, (seeds,)."""
        return self.over(self.machines)

    @property
    def score(self) -> float:
        """Official score, mean over seeds."""
        return float(self.scores.mean())

    def over(self, machines: Iterable[str]) -> FloatArray:
        """Official score over some machines, per seed, (seeds,)."""
        return aggregate(np.concatenate([self.values[machine] for machine in machines], axis=1), self.rule)

    def by_machine(self) -> dict[str, float]:
        """Score of each machine alone, mean over seeds."""
        return {machine: float(self.over([machine]).mean()) for machine in self.machines}


def measured(by_seed: BySeed, year: int) -> dict[str, Any]:
    """The official score of a year and what it averages, each with the interval of 95 % of resampled clips.

    Returns:
        {"score": number, "std": over seeds, "machines": {machine: {"score": number, "sections": {section:
        {metric: number}}}}}; a number is {"value", "low", "high"}, a mean over seeds.
    """
    rule = get_year(year).rule
    evaluations = [evaluate_table(table, year) for table in by_seed.values()]
    draws = [resampled_metrics(table, year) for table in by_seed.values()]
    machines: dict[str, dict[str, Any]] = {}
    for machine in evaluations[0]["machines"]:
        every = [score_metrics(evaluation["machines"][machine].values(), year) for evaluation in evaluations]
        own = [float(aggregate(metrics, rule)) for metrics in every]
        score = _number(own, [aggregate(_stacked(each, machine), rule) for each in draws])
        machines[machine] = {"score": score, "sections": {}}
    for machine, section, metric in draws[0]:
        values = [evaluation["machines"][machine][section][metric] for evaluation in evaluations]
        number = _number(values, [each[machine, section, metric] for each in draws])
        machines[machine]["sections"].setdefault(section, {})[metric] = number
    scores = [evaluation["official_score"] for evaluation in evaluations]
    return {
        "score": _number(scores, [aggregate(_stacked(each), rule) for each in draws]),
        "std": spread(scores)["std"],
        "machines": machines,
    }


def _stacked(draws: Mapping[Key, FloatArray], machine: str | None = None) -> FloatArray:
    """Metrics of a machine, or of all, (n_resamples, metrics)."""
    return np.stack([values for key, values in draws.items() if machine in (None, key[0])], axis=-1)


def _number(values: list[float], draws: list[FloatArray]) -> dict[str, float]:
    """A mean over seeds with its interval."""
    interval = percentile_interval(np.mean(draws, axis=0))
    return {"value": float(np.mean(values)), "low": interval.low, "high": interval.high}


def ranked(entries: Sequence[Entry], reference: str | None = None) -> pd.DataFrame:
    """Entries as rows, best first; differences are those to `reference`, by default to the best.

    Returns:
        The columns run, official_score, std (over seeds), seeds, low, high (95 % of resampled clips), reference,
        difference, difference_low, difference_high, tie (the interval holds 0), wins, losses (machines where it
        is better or worse) and sign_p.
    """
    best_first = sorted(entries, key=lambda entry: -entry.score)
    by_name = {entry.name: entry for entry in best_first}
    if reference is not None and reference not in by_name:
        raise AsdError(f"reference={reference} is not on the board: it holds {', '.join(by_name)}")
    against = best_first[0] if reference is None else by_name[reference]
    return pd.DataFrame([_row(entry, against) for entry in best_first])


def _row(entry: Entry, against: Entry) -> dict[str, object]:
    low, high = percentile_interval(entry.resampled - against.resampled)
    wins, losses, sign_p = sign_test(entry.by_machine(), against.by_machine())
    return {
        "run": entry.name,
        "official_score": entry.score, "std": spread(entry.scores)["std"], "seeds": len(entry.scores),
        **percentile_interval(entry.resampled)._asdict(),
        "reference": against.name, "difference": entry.score - against.score,
        "difference_low": low, "difference_high": high, "tie": low <= 0 <= high,
        "wins": wins, "losses": losses, "sign_p": sign_p,
    }  # fmt: skip


def sign_test(scores: Mapping[str, float], others: Mapping[str, float]) -> tuple[int, int, float]:
    """On how many machines a method is better and worse than another, and how likely that is by chance.

    Returns:
        Wins, losses, and the two-sided p value; equal scores do not count.

    Source: W. J. Dixon and A. M. Mood, "The statistical sign test", JASA 41 (1946).
    """
    differences = np.array([scores[machine] - others[machine] for machine in scores])
    wins, losses = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    return wins, losses, min(2 * float(bdtr(min(wins, losses), wins + losses, 0.5)), 1.0)


def chosen_elsewhere(name: str, candidates: Sequence[Entry]) -> Entry:
    """The method that takes for each machine the candidate that is best on all others: what a choice is worth in use.

    Chosen on all machines, the best of many looks better than it is. The first wins a draw. Takes two machines or more.
    """
    machines = candidates[0].machines
    return _chosen(name, candidates, {machine: [m for m in machines if m != machine] for machine in machines})


def chosen_by_test_labels(name: str, candidates: Sequence[Entry]) -> Entry:
    """The method that takes for each machine the best candidate by its own labels: what choosing could gain at most."""
    return _chosen(name, candidates, {machine: [machine] for machine in candidates[0].machines})


def _chosen(name: str, candidates: Sequence[Entry], judges: Mapping[str, Sequence[str]]) -> Entry:
    """A method without resamples whose values on a machine are, seed by seed, the best candidate's on its judges."""

    def best_on(machines: Sequence[str]) -> Entry:
        return max(candidates, key=lambda entry: float(entry.over(machines).mean()))

    values = {machine: best_on(others).values[machine] for machine, others in judges.items()}
    return Entry(name, values, np.empty(0), candidates[0].rule)


def score_elsewhere(scores: pd.DataFrame, rule: MetricRule) -> float:
    """The score over all machines, as a year's rule averages, where each takes what is best on the other machines."""
    taken = [scores[machine].iloc[row] for machine, row in best_elsewhere(scores, rule).items()]
    return float(aggregate(np.array(taken), rule))


def best_elsewhere(scores: pd.DataFrame, rule: MetricRule) -> dict[str, int]:
    """For each machine the row of `scores` (configurations, machines) that is best on the other machines."""
    return {str(name): int(aggregate(scores.drop(columns=name).to_numpy(), rule).argmax()) for name in scores}


def importances(options: pd.DataFrame, scores: pd.Series) -> dict[str, float]:
    """How much each option moved the score: a forest predicts it, and one option after another is shuffled.

    Options are (configurations, options) numbers or names, scores (configurations,). Shares of the loss of R2, most
    first, sum to 1, or are all 0 where nothing mattered or there are fewer than four configurations.

    Source: L. Breiman, "Random Forests", 2001, by scikit-learn's permutation_importance.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    if len(options) < _LEAST:
        return dict.fromkeys(map(str, options.columns), 0.0)
    values = np.column_stack([_numbers(options[key]) for key in options.columns])
    forest = RandomForestRegressor(n_estimators=200, random_state=0).fit(values, scores)
    lost = permutation_importance(forest, values, scores, n_repeats=20, random_state=0).importances_mean
    lost = np.maximum(lost, 0)
    shares = lost / lost.sum() if lost.sum() > 0 else lost
    pairs = zip(map(str, options.columns), shares.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def _numbers(values: pd.Series) -> np.ndarray:
    """Numbers as they are; names by the order of their appearance."""
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(float)
    return pd.factorize(values.astype(str))[0].astype(float)
