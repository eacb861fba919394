"""Any detector, with long clips in windows and sections on one scale: the wrapper that every detector gets.

The score of a clip is the mean of those of its windows. Statistics of a short clip scatter more than those of a long
one, so scores of clips of different lengths cannot be compared. By default windows are as long as the shortest training
clips, which changes nothing where all are of one length (docs/own-recordings.md). With a shorter `window_s` a short
event weighs more, and scores are noisier.

Sections are learnt apart, and the fewer clips a section has, the higher its normal clips score. So that one threshold
holds for all, scores of each section are brought to the mean and deviation of all training scores, which changes no
order within a section (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.core.files import read_json, write_json
from asd.core.runtime import log
from asd.data.recordings import Recordings
from asd.detectors.base import Detector, Scores
from asd.features.clip_statistics import clip_means
from asd.features.normal_spectra import LONGEST_S
from asd.scoring.backends import LEAST_CLIPS
from asd.scoring.threshold import ScoreNormalizer
from asd.types import AsdError

SAME_LENGTH = 1.05  # factor by which two lengths may differ and still count as one: too little to cut a clip for
_CLIP_S = 10.0  # what a long recording is cut into where all are as long
_WINDOWS_FILE = "windows.json"
Scales = dict[str, dict[str, tuple[float, float]]]  # scorer -> section -> factor and offset of its scores


def cut_long_recordings(recordings: Recordings, machine: str) -> Recordings:
    """Recordings to learn from; those of more than a minute in windows as long as the longest of the others, or 10 s.

    Args:
        recordings: the training clips, of any lengths.
        machine: their machine, for the message.
    """
    durations_s = recordings.durations_s
    is_clip = durations_s <= LONGEST_S
    if is_clip.all():
        return recordings
    clip_s = float(durations_s[is_clip].max(initial=0.0)) or _CLIP_S
    clips = recordings.windows(round(clip_s * recordings.sample_rate_hz))[0]
    log.info(
        f"{machine}: {(~is_clip).sum()} of {len(recordings)} recordings last more than {LONGEST_S:g} s and are learnt "
        f"from in windows of {clip_s:.3g} s; window_s= sets another"
    )
    return clips


def check_lengths(recordings: Recordings, least_samples: int) -> None:
    """Refuses recordings that are shorter than a detector can use.

    Args:
        recordings: to fit or to score.
        least_samples: shortest that the detector can use.

    Raises:
        AsdError: one is shorter, which is named.
    """
    for clip, sound in recordings.pairs:
        if (n := sound.n_samples) < least_samples:
            raise AsdError(f"{clip.path} has {n} samples, the detector needs {least_samples} at least; leave it out")


class Windowed(Detector):
    """A detector that is fitted to windows of `window_s`, None: as long as training clips, and scores clips by them.

    Training scores hold out runs of windows: where a run ends within a clip, its windows may be scored by a model that
    has seen others of the same clip. `AsdError` where a detector that learns from more is given a length.
    """

    def __init__(self, detector: Detector, window_s: float | None = None) -> None:
        super().__init__(detector.context)
        self.detector, self.scorers, self.version = detector, detector.scorers, detector.version
        self.is_by_clips = window_s is None  # windows are as long as training clips are
        self.uncut_lengths = SAME_LENGTH if window_s is None else 1.0  # clips of up to so many windows are not cut
        self.n_samples = None if window_s is None else round(window_s * self.context.sample_rate_hz)
        self.scales: Scales = {}
        extra = self.context.supplement
        self.learns_more = any((extra.extra_normals, extra.noise_only, extra.other_machines))
        if self.learns_more and self.n_samples is not None:
            raise AsdError(
                f"window_s={window_s:g} cuts training clips only; leave supplemental.* and joint training out, or "
                f"window_s"
            )

    def fit(self, recordings: Recordings) -> None:
        """Fits the detector to the windows of the training clips."""
        self._fit(recordings, self.detector.fit)

    def refit(self, recordings: Recordings) -> None:
        """Fits the bank of the detector anew."""
        self._fit(recordings, self.detector.refit)

    def score(self, recordings: Recordings) -> Scores:
        """Mean score of the windows of each clip, by each scorer, on the scale of all sections."""
        return self._scaled(self._means(recordings, self.detector.score), _section_names(recordings))

    def score_training(self, recordings: Recordings) -> Scores:
        """The same of the training clips."""
        return self._scaled(self._means(recordings, self.detector.score_training), _section_names(recordings))

    def embed(self, recordings: Recordings) -> npt.NDArray[np.float64] | None:
        """Mean of the vectors of the windows of each clip."""
        windows, owner = self._windows(recordings)
        vectors = self.detector.embed(windows)
        return vectors if vectors is None or windows is recordings else clip_means(vectors, owner)

    def save(self, directory: Path) -> None:
        """Writes the detector, how long its windows are and the scale of each section."""
        self.detector.save(directory)
        write_json(directory / _WINDOWS_FILE, {"n_samples": self.n_samples, "scales": self.scales})

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote."""
        self.detector.load(directory)
        self._take_over_scorers()
        path = directory / _WINDOWS_FILE
        if "n_samples" not in (stored := read_json(path)):
            raise AsdError(f"{path} is missing or damaged; train the run again with overwrite=true")
        self.n_samples, self.scales = stored["n_samples"], stored.get("scales", {})

    def load_weights(self, path: Path) -> None:
        """Takes weights trained elsewhere, where the detector does."""
        self.detector.load_weights(path)
        self._take_over_scorers()

    def facts(self) -> Mapping[str, Any]:
        """Those of the detector."""
        return self.detector.facts()

    def _fit(self, recordings: Recordings, fit: Callable[[Recordings], None]) -> None:
        if self.is_by_clips:
            longest = int(recordings.lengths_samples.max())
            self.n_samples = longest if self.learns_more else recordings.usual_window  # other clips are not cut
        fit(self._windows(recordings)[0])
        self._take_over_scorers()
        self.scales = {}
        if len(recordings.sections) > 1 and not self.calibration:
            self.scales = _scales_of(self._means(recordings, self.detector.score_training), _section_names(recordings))

    def _take_over_scorers(self) -> None:
        """Which scorers there are is known after fitting or loading: weights from elsewhere allow fewer."""
        self.scorers, self.calibration = self.detector.scorers, self.detector.calibration

    def _windows(self, recordings: Recordings) -> tuple[Recordings, npt.NDArray[np.int64]]:
        """The windows of clips, and the clip of each."""
        if self.n_samples is None:
            return recordings, np.arange(len(recordings))
        return recordings.windows(self.n_samples, self.uncut_lengths)

    def _means(self, recordings: Recordings, score: Callable[[Recordings], Scores]) -> Scores:
        """Means of the scores of windows, by clip; a detector of one's own may give integers, lists or more scorers."""
        windows, owner = self._windows(recordings)
        scores = score(windows)
        self._check(scores, len(windows))
        plain = {scorer: np.asarray(scores[scorer], np.float64) for scorer in self.detector.scorers}
        return plain if windows is recordings else {scorer: clip_means(plain[scorer], owner) for scorer in plain}

    def _scaled(self, scores: Scores, sections: npt.NDArray[np.str_]) -> Scores:
        """Scores (clips,) by scorer on the scale of all sections; those of one never trained on stay as they are."""
        scaled = dict(scores)
        for scorer, of_section in self.scales.items():
            scaled[scorer] = scores[scorer].copy()
            for section, (factor, offset) in of_section.items():
                own = sections == section
                scaled[scorer][own] = factor * scores[scorer][own] + offset
        return scaled

    def _check(self, scores: object, n: int) -> None:
        """Refuses what is not one score for each of n clips and each scorer, as of a detector of one's own."""
        wanted = self.detector.scorers
        found = {k: np.shape(values) for k, values in scores.items()} if isinstance(scores, Mapping) else type(scores)
        if not wanted or not isinstance(found, dict) or any(found.get(scorer) != (n,) for scorer in wanted):
            raise AsdError(
                f"{type(self.detector).__name__}.score has to give {n} scores, shape ({n},), by the name of each of "
                f"its scorers {wanted}; it gave {found}"
            )


def _section_names(recordings: Recordings) -> npt.NDArray[np.str_]:
    """The section of each clip, (clips,)."""
    return np.array([clip.section for clip in recordings.clips], np.str_)


def of_no_section(recordings: Recordings, sections: Sequence[str]) -> list[str]:
    """A sentence on recordings of a section that the model does not have; where it has only one, 00 counts as that.

    Args:
        recordings: recordings to score.
        sections: sections that the model was trained on.
    """
    unsaid = {*sections} | ({"00"} if len(sections) < 2 else set())
    if not (strange := [clip for clip in recordings.clips if clip.section not in unsaid]) or not sections:
        return []
    return [
        f"{len(strange)} of {len(recordings)} recordings are of section {strange[0].section}, and the model was "
        f"trained on {', '.join(sections)}: they are scored against all of these; name theirs with section="
    ]


def _scales_of(training: Scores, sections: npt.NDArray[np.str_]) -> Scales:
    """What brings training scores (clips,) of each section to the mean and deviation of all; of a few clips nothing."""
    names, counts = np.unique(sections, return_counts=True)
    found: Scales = {}
    for scorer, scores in training.items():
        shared, found[scorer] = ScoreNormalizer.of(scores), {}
        for name in names[counts >= LEAST_CLIPS].tolist():
            own = ScoreNormalizer.of(scores[sections == name])
            factor = shared.deviation / own.deviation
            found[scorer][name] = (factor, shared.mean - factor * own.mean)
    return found
