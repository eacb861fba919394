"""What mattered in a sweep: configurations and their scores to a number per option, and a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asd.evaluation.figures import BLUE, GREY, styled

_LEAST = 4  # configurations without which nothing can be said


def importances(options: pd.DataFrame, scores: pd.Series) -> dict[str, float]:
    """How much each option moved the score: a forest predicts it, and one option after another is shuffled.

    Args:
        options: (configurations, options) values, numbers or names.
        scores: (configurations,) of each.

    Returns:
        Share of each option in the loss of R2, most first; they sum to 1, or are all 0 where nothing mattered or
        there are fewer than four configurations.

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


def chosen_elsewhere(scores: pd.DataFrame) -> float:
    """Mean score where each machine takes the configuration that is best on the other machines."""
    return float(np.mean([scores[machine].iloc[row] for machine, row in best_elsewhere(scores).items()]))


def best_elsewhere(scores: pd.DataFrame) -> dict[str, int]:
    """For each machine the configuration that is best on the other machines: no label of its own has a say.

    Args:
        scores: (configurations, machines), two machines at least.

    Returns:
        Row of the configuration by machine.
    """
    return {str(name): int(scores.drop(columns=name).mean(axis=1).to_numpy().argmax()) for name in scores}


@styled
def importance_figure(table: pd.DataFrame, keys: Sequence[str], shares: dict[str, float]) -> Figure:
    """A bar per option, and the score of every configuration against each of the first five options.

    Args:
        table: a row per configuration, with its options and its `score`.
    """
    shown = list(shares)[:5]
    figure = Figure(figsize=(3.2 * (1 + len(shown)), 3.4), layout="constrained")
    bars, *scatters = figure.subplots(1, 1 + len(shown))
    names = list(shares)[::-1]
    bars.barh([name.split(".")[-1] for name in names], [shares[name] for name in names], color=BLUE)
    bars.set_xlabel("share of the importance")
    for axes, key in zip(scatters, shown, strict=True):
        values = table[key]
        is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        places = values if is_number else values.astype(str)
        axes.scatter(places, 100 * table["score"], color=BLUE, edgecolor=GREY)
        axes.set_xlabel(key.split(".")[-1])
        axes.tick_params(axis="x", rotation=0 if is_number else 30)
    scatters[0].set_ylabel("official score in per cent")
    return figure


def _numbers(values: pd.Series) -> np.ndarray:
    """Numbers as they are; names by the order of their appearance."""
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(float)
    return pd.factorize(values.astype(str))[0].astype(float)
