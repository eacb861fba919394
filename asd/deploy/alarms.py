"""From scores of windows to alarms: smoothed, raised after a while, cleared lower than they were raised."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alarm is raised and cleared.

    Attributes:
        above: a smoothed score above is suspicious.
        below: a smoothed score below clears an alarm; at most `above`.
        n_smooth: windows whose mean score counts.
        least_samples: length of the suspicious stretch, from the end of its first window, that raises an alarm.
    """

    above: float
    below: float
    n_smooth: int = 1
    least_samples: int = 0


def below_of(threshold: float, training_scores: npt.NDArray[np.float64], hysteresis: float) -> float:
    """The score under which an alarm is cleared.

    Args:
        threshold: above which it is raised.
        training_scores: (clips,) of normal training clips.
        hysteresis: how far below, as a share of the way from the threshold to the median of those scores.

    Returns:
        The score; the threshold itself where it lies below that median.
    """
    return threshold - hysteresis * max(0.0, threshold - median(training_scores.tolist()))


class Alarms:
    """What a stream of scores means by a rule; it holds as many scores as are smoothed, and no more.

    Attributes:
        smoothed: mean of the last scores.
        onset: first sample of the first window of the suspicious stretch; None while there is none.
        is_on: whether an alarm was raised and not cleared yet.
        peak: highest smoothed score since the onset.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.smoothed, self.peak = 0.0, 0.0
        self.onset: int | None = None
        self.is_on = False
        self._since = 0
        self._recent: deque[float] = deque(maxlen=rule.n_smooth)

    def step(self, score: float, start: int, end: int) -> Literal["alarm", "cleared"] | None:
        """Takes the score of the next window.

        Args:
            score: of the window.
            start, end: its first sample, and the one after its last.

        Returns:
            What happens because of it.
        """
        self._recent.append(score)
        self.smoothed = fmean(self._recent)
        if self.is_on:
            self.peak = max(self.peak, self.smoothed)
            return self._clear() if self.smoothed < self.rule.below else None
        if not self.smoothed > self.rule.above:
            self.onset = None
            return None
        if self.onset is None:
            self.onset, self._since, self.peak = start, end, self.smoothed
        self.peak = max(self.peak, self.smoothed)
        self.is_on = end - self._since >= self.rule.least_samples
        return "alarm" if self.is_on else None

    def cut(self) -> None:
        """Samples are missing: a suspicion begins anew, and an alarm stays, as nobody has heard the machine recover."""
        self._recent.clear()
        if not self.is_on:
            self.onset = None

    def _clear(self) -> Literal["cleared"]:
        self.is_on, self.onset = False, None
        return "cleared"
