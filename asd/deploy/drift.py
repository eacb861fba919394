"""Do normal windows still score like the training clips? A two-sample test, repeated as the stream goes on.

Normal is what scores at or below the threshold, of both; alarms are left out. Every `n` windows that do not overlap
are held against the training clips by the Kolmogorov-Smirnov test. Looking again and again finds something by chance
in the end, so each look is made at the level `per_day` divided by the looks of a day (Bonferroni): as long as windows
score like training clips that were drawn independently, `per_day` false warnings are expected in a day of sound at
most, however the looks depend on each other.

Source: J. L. Hodges, "The significance probability of the Smirnov two-sample test", Arkiv för Matematik 3 (1958), as
`scipy.stats.ks_2samp` computes it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a look at the last windows found.

    Attributes:
        p_value: probability of a difference like this or larger where nothing has changed.
        level: a smaller p value is a warning.
        distance: largest difference of the two distribution functions (Kolmogorov-Smirnov), 0 to 1.
        direction: whether the windows score higher or lower, by their median.
        median, training_median: scores of the windows, and of the training clips.
        n_windows, n_training: how many of each.
    """

    p_value: float
    level: float
    distance: float
    direction: str
    median: float
    training_median: float
    n_windows: int
    n_training: int

    @property
    def is_drift(self) -> bool:
        """Whether it is worth a warning."""
        return self.p_value < self.level

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a line of JSON."""
        return asdict(self)


class Drift:
    """Follows the scores of normal windows; holds as many as one look takes.

    Args:
        training_scores: (clips,) of normal training clips, none of which met itself.
        n_windows: windows of a look.
        window_s: seconds from one of them to the next.
        per_day: false warnings that are expected in a day at most.
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
