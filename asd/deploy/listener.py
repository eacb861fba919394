"""Turns a stream, window by window, into scores, alarms with their recording, gaps, defects and drift."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.core.files import atomic
from asd.data.audio import chosen_channels, defect
from asd.data.codecs import write_wav
from asd.deploy.alarms import Alarms, Drift, Rule
from asd.deploy.stream import Piece, Samples, Window, Windows
from asd.types import AsdError, Channel

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stream is listened to."""

    sample_rate_hz: int  # this and the channels are what the model needs, see `data.audio.chosen_channels`
    n_channels: int
    n_window: int  # samples of a window
    n_hop: int  # and from one to the next
    n_before: int  # samples recorded before an alarm
    n_after: int  # and after it
    rule: Rule  # when an alarm is raised
    channel: Channel | None = None
    drift_windows: int = 50  # of a look at normal scores
    drift_per_day: float = 0.01  # false warnings that are expected

    @property
    def n_kept(self) -> int:
        """Samples that an alarm may ask for: from before its onset to after it was raised, and a little more."""
        lead = self.n_window + self.rule.least_samples + self.n_hop
        return self.n_before + lead + self.n_after + 2 * self.n_hop


class Listener:
    """Scores a stream and says what happens; its memory does not grow with the stream.

    `score` gives that of a window (channels, samples), `emit` takes every event, and `write_score` a line per window;
    training scores (clips,) are of normal clips.
    """

    def __init__(
        self,
        plan: Plan,
        training_scores: npt.NDArray[np.float64],
        score: Callable[[Samples], float],
        emit: Emit,
        write_score: Emit,
        folder: Path,
    ) -> None:
        self.plan, self.score, self.folder = plan, score, folder
        self.n_windows, self.n_alarms, self.n_samples = 0, 0, 0
        self.problems: dict[str, None] = {}  # the first few, each once
        self._emit, self._write_score = emit, write_score
        self._windows = Windows(plan.n_channels, plan.n_window, plan.n_hop, plan.n_kept)
        self._recording, self._origin, self._alarm = "", 0, ""
        self.defect = ""  # of the last window
        self._due: list[tuple[Path, int, int]] = []  # recordings, files or folders of windows, of samples still to come
        self._alarms, self._is_drifting = Alarms(plan.rule), False
        self.learnt(plan.rule, training_scores)

    def learnt(self, rule: Rule, training_scores: npt.NDArray[np.float64]) -> None:
        """Begins anew with a model that was recalibrated; what is kept of the stream stays, what was on is over."""
        why = "the model was recalibrated"
        if self._alarms.is_on:
            self._say("cleared", alarm=self._alarm, peak=self._alarms.peak, why=why)
        if self._is_drifting:
            self._say("drift over", why=why)
        plan = self.plan
        apart = max(plan.n_window, plan.n_hop) / plan.sample_rate_hz
        self._alarms = Alarms(rule)
        usual = training_scores[training_scores <= rule.above]  # as the windows that are held against them
        self._drift = Drift(usual, plan.drift_windows, apart, plan.drift_per_day)
        self._drift_from, self._is_drifting = 0, False

    def take(self, piece: Piece) -> None:
        """Takes the next piece of the stream; `AsdError` where none of it can be used."""
        if piece.is_new:
            self._cut(piece)
        elif piece.problem:
            self._problem(piece.problem)
        if not piece.samples.shape[1]:
            return
        self._recording = piece.recording
        try:
            samples = chosen_channels(piece.recording, piece.samples, self.plan.n_channels, self.plan.channel)
            if len(samples) < (wanted := self.plan.n_channels):
                raise AsdError(f"{piece.recording} has one channel, and the model needs {wanted} (near, far)")
        except AsdError as error:
            if not piece.is_new:  # the whole stream is like this, and a problem would come with every block
                raise AsdError(f"{error}; of raw samples and sound cards channels= tells how many there are") from error
            self._problem(str(error))
            return
        self.n_samples += samples.shape[1]
        for window in self._windows.feed(samples.astype(np.float32, copy=False)):
            self._score_window(window)
            self._write_due(self._windows.end)
        if piece.is_whole:
            self._end()

    def finish(self) -> None:
        """The stream has ended: what is left of it is scored and written."""
        self._end()

    def _cut(self, piece: Piece) -> None:
        self._end(piece.lost_s)
        if piece.recording != self._recording or piece.is_whole:
            self._origin = self._windows.end
        self._recording = piece.recording
        if piece.lost_s:
            self._alarms.cut()
            self._say("gap", seconds=round(piece.lost_s, 3), why=piece.problem)
        elif piece.problem:
            self._problem(piece.problem)

    def _end(self, lost_s: float = 0.0) -> None:
        """Nothing reaches across this place: a recording that is shorter than a window is one."""
        short = self._windows.short()
        if short and not lost_s:
            self._score_window(short)
        self._write_due(None)
        self._windows.cut(round(lost_s * self.plan.sample_rate_hz))

    def _score_window(self, window: Window) -> None:
        """Scores a window and says what that means."""
        broken = defect(window.samples, self.plan.sample_rate_hz) or ""
        score: float | None = None
        try:
            score = self.score(window.samples)
        except AsdError as error:
            self._alarms.cut()  # nothing is known of it, as where samples are missing
            broken = broken or str(error).removeprefix("a waveform in memory ")
        if _kind(broken) != _kind(self.defect):
            self._say("defect" if broken else "defect over", window, why=broken or self.defect)
        self.defect = broken
        self.n_windows += score is not None
        change = None if score is None else self._alarms.step(score, window.start, window.end)
        found = {"score": score, "smoothed": self._alarms.smoothed, "alarm": self._alarms.is_on}
        self._write_score({**self._about(window), **found, "defect": broken or None})
        if change == "alarm":
            self._raise(window)
        elif change == "cleared":
            self._say("cleared", window, alarm=self._alarm, peak=self._alarms.peak)
        if score is not None and score <= self._alarms.rule.above and not self._alarms.is_on and not broken:
            self._follow(score, window)

    def _raise(self, window: Window) -> None:
        self.n_alarms += 1
        alarms, plan = self._alarms, self.plan
        onset = window.start if alarms.onset is None else alarms.onset
        path = self._to_record("alarm", onset - plan.n_before, window.end + plan.n_after)
        onset_s = round((onset - self._origin) / plan.sample_rate_hz, 3)
        levels = {"smoothed": alarms.smoothed, "threshold": alarms.rule.above}
        self._alarm = self._say("alarm", window, onset_s=onset_s, **levels, audio=str(path))

    def _follow(self, score: float, window: Window) -> None:
        """Holds a normal window, the next that overlaps no earlier one, against the training clips."""
        if window.start < self._drift_from or not self.plan.drift_per_day or len(self._drift.training) < 2:
            return
        self._drift_from = window.end
        if not (found := self._drift.step(score)) or found.is_drift == self._is_drifting:
            return  # what was said is not said again
        self._is_drifting = found.is_drift
        if found.is_drift:
            path = self._to_record("drift", window.end - self.plan.n_kept, window.end)
            self._say("drift", window, **asdict(found), audio=str(path))
        else:
            self._say("drift over", window, **asdict(found))

    def _to_record(self, kind: str, start: int, stop: int) -> Path:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path = self.folder / "recordings" / f"{kind}-{moment}{'.wav' if kind == 'alarm' else ''}"
        self._due.append((path, start, stop))
        return path

    def _write_due(self, end: int | None) -> None:
        """Writes recordings that are complete; all of them at a cut (None), as far as they go.

        One is a file, or a folder of files of one window each, which can be trained on.
        """
        for due in [due for due in self._due if end is None or due[-1] <= end]:
            path, start, stop = due
            try:
                self._write(path, self._windows.between(start, stop).samples)
            except AsdError as error:
                self._problem(str(error))
            self._due.remove(due)  # not before: where Ctrl-C comes meanwhile, it is written at the end

    def _write(self, path: Path, samples: Samples) -> None:
        n, rate = self.plan.n_window, self.plan.sample_rate_hz
        with atomic(path) as temporary:
            if path.suffix == ".wav":
                write_wav(temporary, samples, rate)
                return
            temporary.mkdir()
            for i in range(samples.shape[1] // n):
                write_wav(temporary / f"{i:02d}.wav", samples[:, i * n : (i + 1) * n], rate)

    def _problem(self, sentence: str) -> None:
        if len(self.problems) < 100:
            self.problems[sentence] = None
        self._say("problem", why=sentence)

    def _about(self, window: Window | None) -> dict[str, Any]:
        if window is None:
            return {"recording": self._recording}
        rate = self.plan.sample_rate_hz
        start_s, end_s = (window.start - self._origin) / rate, (window.end - self._origin) / rate
        return {"recording": self._recording, "start_s": round(start_s, 6), "end_s": round(end_s, 6)}

    def _say(self, event: str, window: Window | None = None, **facts: Any) -> str:
        """Emits an event; returns its id."""
        name = uuid.uuid4().hex
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._emit({"id": name, "event": event, "time": moment, **self._about(window), **facts})
        return name


def _kind(defect: str) -> str:
    """A defect without its numbers, which differ from window to window."""
    return re.sub(r"[-+]?\d[\d.e+-]*", "", defect)
