"""What scores of windows mean: alarms, and whether normal windows still score like the training clips.

An alarm is raised when smoothed scores stay high for a while, and cleared lower than it was raised.

Normal is what scores at or below the threshold, of windows and training clips alike; alarms are left out. Every `n`
windows that do not overlap are held against the training clips by the two-sample Kolmogorov-Smirnov test. Looking
again and again finds something by chance in the end, so each look is made at the level `per_day` divided by the looks
of a day (Bonferroni): as long as windows score like training clips that were drawn independently, `per_day` false
warnings are expected in a day of sound at most, however the looks depend on each other.

Source: J. L. Hodges, "The significance probability of the Smirnov two-sample test", Arkiv för Matematik 3 (1958), as
`scipy.stats.ks_2samp` computes it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alarm is raised and cleared."""

    above: float  # a smoothed score above is suspicious
    below: float  # a smoothed score below clears an alarm; at most `above`
    n_smooth: int = 1  # windows whose mean score counts
    least_samples: int = 0  # length of the suspicious stretch, from the end of its first window, that raises an alarm


def below_of(threshold: float, training_scores: npt.NDArray[np.float64], hysteresis: float) -> float:
    """The score under which an alarm is cleared: so far on the way from the threshold to the median of training scores.

    Where the threshold lies below that median, it is the threshold itself.
    """
    return threshold - hysteresis * max(0.0, threshold - median(training_scores.tolist()))


class Alarms:
    """Raises and clears alarms for a stream of scores by a rule; it keeps as many scores as are smoothed."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.smoothed, self.peak = 0.0, 0.0  # mean of the last scores; the highest one since the onset
        self.onset: int | None = None  # first sample of the first window of the suspicious stretch; None: there is none
        self.is_on = False  # whether an alarm was raised and not cleared yet
        self._since = 0
        self._recent: deque[float] = deque(maxlen=rule.n_smooth)

    def step(self, score: float, start: int, end: int) -> Literal["alarm", "cleared"] | None:
        """Takes the score of the next window, from its first sample to the one after its last; what happens of it."""
        self._recent.append(score)
        self.smoothed = fmean(self._recent)
        if self.is_on:
            self.peak = max(self.peak, self.smoothed)
            if self.smoothed < self.rule.below:
                self.is_on, self.onset = False, None
                return "cleared"
            return None
        if not self.smoothed > self.rule.above:
            self.onset = None
            return None
        if self.onset is None:
            self.onset, self._since, self.peak = start, end, self.smoothed
        self.peak = max(self.peak, self.smoothed)
        self.is_on = end - self._since >= self.rule.least_samples
        return "alarm" if self.is_on else None

    def cut(self) -> None:
        """Samples are missing: a suspicion begins anew, and an alarm stays, as the machine may not have recovered."""
        self._recent.clear()
        if not self.is_on:
            self.onset = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Result of one test of the last windows."""

    p_value: float  # probability of a difference like this or larger where nothing has changed
    level: float  # a smaller p value is a warning
    distance: float  # largest difference of the two distribution functions (Kolmogorov-Smirnov), 0 to 1
    direction: str  # whether the windows score higher or lower, by their median
    median: float
    training_median: float
    n_windows: int
    n_training: int

    @property
    def is_drift(self) -> bool:
        """Whether it is worth a warning."""
        return self.p_value < self.level


class Drift:
    """Follows the scores of normal windows; holds as many as one look takes.

    Training scores (clips,) are of normal clips, none of which met itself; `per_day` false warnings are expected at
    most.
    """

    def __init__(
        self, training_scores: npt.NDArray[np.float64], n_windows: int, window_s: float, per_day: float
    ) -> None:
        self.training, self.n_windows = training_scores, n_windows
        self.level = per_day * n_windows * window_s / DAY_S
        self._recent: list[float] = []

    def step(self, score: float) -> Evidence | None:
        """Takes the score of the next normal window; the evidence where it completes a look."""
        self._recent.append(score)
        if len(self._recent) < self.n_windows:
            return None
        recent, self._recent = np.array(self._recent), []
        found = ks_2samp(recent, self.training)
        middle, training_middle = float(np.median(recent)), float(np.median(self.training))
        return Evidence(
            p_value=float(found.pvalue),
            level=self.level,
            distance=float(found.statistic),
            direction="higher" if middle > training_middle else "lower",
            median=middle,
            training_median=training_middle,
            n_windows=len(recent),
            n_training=len(self.training),
        )
