"""The stage `listen`: a model scores a stream as it comes, and raises alarms."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.core.files import alone, check_file_place
from asd.core.runtime import fingerprint, log, stopped_by_termination
from asd.data.audio import Sound
from asd.data.recordings import Recordings
from asd.data.remarks import tell, unlike
from asd.deploy.alarms import Rule, below_of
from asd.deploy.listener import Listener, Plan
from asd.deploy.sinks import JsonLines, Mqtt, Webhook
from asd.deploy.sources import source_of
from asd.deploy.stream import Piece
from asd.detectors.windowed import SAME_LENGTH
from asd.library import Model, load
from asd.runs import RunDirectory
from asd.settings.stages import Listen
from asd.types import AsdError, Channel, Clip, Split, one_of, section_among

_CLOSE_S = 8.0  # that sinks have at the end to deliver what is left: containers are killed after ten
_NAMED = 3  # defects that the last message names


@dataclass(frozen=True, slots=True)
class ListenResult:
    """Result of listening to a stream."""

    folder: Path  # of alarms.jsonl, scores.jsonl and recordings/
    seconds: float
    n_windows: int
    n_alarms: int
    cpu_share: float  # of one core that the sound took, per second of it
    defects: list[str]  # what could not be read, written or delivered, in sentences


class RunModel:
    """The model of a run, loaded again when the run was recalibrated meanwhile."""

    def __init__(self, config: Listen) -> None:
        self.config = config
        self._use(self._read(config.machine))
        self._stamp, self.window_s = self.run.completed_ns(), self._clip_s()

    def _read(self, machine: str | None) -> Model:
        config = self.config
        return load(config.runs / config.name, machine, seed=config.seed, device=config.device)

    def _use(self, model: Model) -> None:
        """Takes a model, where it knows the scorer and the section that are asked for; else nothing changes."""
        config, machine = self.config, model.options.machine[0]
        scorer = one_of(config.scorer or model.scorers[0], model.scorers, "scorer")
        self.section = None if config.section is None else section_among(model.sections, config.section, machine)
        self.model, self.scorer = model, scorer
        self.run = RunDirectory.of(config.runs, config.name, machine, model.options.seeds[0])
        self.training_scores: npt.NDArray[np.float64] = model.normal.scores[scorer].to_numpy(float)

    def _clip_s(self) -> float | None:
        """Length of a window: as given, or of the training clips; None where the run does not know that."""
        return self.config.window_s or self.run.fit_facts().get("clip_s")

    def has_changed(self) -> bool:
        """Whether another model lies there than the one that was read; it is read then."""
        if (now := self.run.completed_ns()) in (0, self._stamp):
            return False
        self._stamp = now
        try:
            model = self._read(self.run.machine)
            if _heard(model) != _heard(self.model):
                raise AsdError("it takes another rate or other channels; start listen again for it")
            if (clip_s := self._clip_s()) and self.window_s and not _are_alike(clip_s, self.window_s):
                way = "start listen again for it"
                raise AsdError(f"it learnt from clips of {clip_s:.3g} s, windows are of {self.window_s:.3g} s; {way}")
            self._use(model)
        except AsdError as error:
            log.error("the recalibrated model cannot be used (%s); the one from before listens on", error)
            return False
        return True

    def rule(self) -> Rule:
        """When an alarm is raised, by the thresholds of the model or the one that was given."""
        given = self.config.threshold
        threshold = self.model.thresholds[self.scorer].value if given is None else given
        below = below_of(threshold, self.training_scores, self.config.hysteresis)
        rate = self.model.options.sample_rate_hz
        return Rule(threshold, below, self.config.smooth, round(self.config.duration_s * rate))

    def remark(self, sound: Sound) -> None:
        """Warns, once of each kind, of a recording or stream that is stored otherwise than what was learnt from."""
        unknown = {"seconds"} if sound.content else {"seconds", "in_steps"}
        learnt = {name: value for name, value in self.model.recorded.items() if name not in unknown}
        name = str(sound.path)
        clip = Clip(Path(name), self.run.machine, "00", Split.TEST)
        differences = unlike(Recordings([clip], [sound], sound.sample_rate_hz), learnt)
        tell(logging.WARNING, name, differences, self.model.told)

    def plan(self) -> Plan:
        """Windows as long as a training clip, every quarter of one but not more often than once a second."""
        config, window_s = self.config, self.window_s
        if window_s is None:
            raise AsdError(
                f"{self.run.path} was stored before runs knew the length of their clips; give it, such as window_s=10"
            )
        hop_s = config.hop_s or max(window_s / 4, min(window_s, 1.0))
        if hop_s > window_s:
            raise AsdError(f"hop_s={hop_s:g} leaves something out between windows of {window_s:g} s; take less")
        rate, n_channels, channel = _heard(self.model)
        return Plan(
            sample_rate_hz=rate,
            n_channels=n_channels,
            n_window=self.model.options.detector_settings.window_samples(window_s, rate),
            n_hop=max(1, round(hop_s * rate)),
            n_before=round(config.before_s * rate),
            n_after=round(config.after_s * rate),
            rule=self.rule(),
            channel=channel,
            drift_windows=config.drift.windows,
            drift_per_day=config.drift.per_day,
        )

    def score(self, samples: npt.NDArray[np.float32]) -> float:
        """Of a window (channels, samples), whose one channel is the one that the model listens to."""
        samples = samples[0] if len(samples) == 1 else samples
        return self.model.score(samples, self.model.options.sample_rate_hz, self.scorer, self.section).score


def _heard(model: Model) -> tuple[int, int, Channel | None]:
    """What of a stream a model takes: sample rate in Hz, number of channels, and which one."""
    front_end = model.detector.context.front_end
    return model.options.sample_rate_hz, front_end.n_microphones, front_end.channel


def _are_alike(a_s: float, b_s: float) -> bool:
    """Whether clips of two lengths score alike; confirmed recordings move the length of a run a little."""
    return max(a_s, b_s) <= SAME_LENGTH * min(a_s, b_s)


def listen(config: Listen) -> ListenResult:
    """Listens until the stream ends, or until Ctrl-C or a termination signal."""
    model = RunModel(config)
    plan = model.plan()
    folder = config.out or Path("listening") / config.name / model.run.machine
    check_file_place(folder / "alarms.jsonl")
    busy = f"another listener writes to {folder}; stop it, or give this one a place of its own with out="
    with alone(folder, busy=busy):
        mark = folder / f"scored-{fingerprint(str(Path(config.input).resolve()))}"  # a mark for each folder
        try:
            with stopped_by_termination(signal.SIGHUP):  # a terminal that is closed
                pieces = source_of(
                    config.input,
                    plan.sample_rate_hz,
                    format_=config.format,
                    n_channels=config.channels,
                    mark=mark,
                    tell=model.remark,
                )
        except KeyboardInterrupt:  # while a pipe was waited for
            log.info("stopped")
            return ListenResult(folder, 0.0, 0, 0, 0.0, [])
        return _listen(model, plan, pieces, folder)


def summary(config: Listen, result: ListenResult) -> str:
    """How much was scored, what it cost, and where it is."""
    more, is_written = len(result.defects) - _NAMED, result.folder.exists()
    return "\n".join(
        [
            f"listened to {result.seconds:.1f} s: {result.n_windows} scores, {result.n_alarms} alarms, "
            f"{result.cpu_share:.1%} of one core",
            *([f"written: {result.folder}/alarms.jsonl, scores.jsonl and recordings/"] if is_written else []),
            *result.defects[:_NAMED],
            *([f"and {more} more"] if more > 0 else []),
        ]
    )


def _listen(model: RunModel, plan: Plan, pieces: Iterator[Piece], folder: Path) -> ListenResult:
    config, others = model.config, dict[str, Webhook | Mqtt]()
    if config.webhook:
        secret = config.webhook_secret or os.environ.get("ASD_WEBHOOK_SECRET", "")
        others["the webhook"] = Webhook(config.webhook, secret)
    if config.mqtt:
        others["the broker"] = Mqtt(config.mqtt)
    folder.mkdir(parents=True, exist_ok=True)
    sinks = {"alarms.jsonl": JsonLines(folder / "alarms.jsonl"), **others}  # what stays comes first
    scores = JsonLines(folder / "scores.jsonl")
    about = {"run": config.name, "machine": model.run.machine}

    def emit(event: dict[str, Any]) -> None:
        log.log(_LEVELS.get(event["event"], 30), "%s", _sentence(event))
        for sink in sinks.values():
            sink.send({**event, **about})

    listener = Listener(plan, model.training_scores, model.score, emit, scores.send, folder)
    started_s, is_stopped = time.process_time(), False
    try:
        with stopped_by_termination(signal.SIGHUP):
            for piece in pieces:
                if model.has_changed():
                    log.info("the model was recalibrated; its new threshold is %.4g", model.rule().above)
                    listener.learnt(model.rule(), model.training_scores)
                listener.take(piece)
    except KeyboardInterrupt:
        is_stopped = True
        log.info("stopped")
    finally:
        listener.finish()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda sink: sink.close(_CLOSE_S), others.values()))
    seconds = listener.n_samples / plan.sample_rate_hz
    lost = {name: sink.n_lost for name, sink in {**sinks, "scores.jsonl": scores}.items() if sink.n_lost}
    defects = [*listener.problems, *(f"{n} lines or events did not reach {name}" for name, n in lost.items())]
    if not listener.n_windows and not listener.problems and not is_stopped:
        is_long = listener.n_samples >= plan.n_window
        why = f": it {listener.defect}" if is_long else "; give it more, or set window_s="
        raise AsdError(f"{config.input} ended after {seconds:.3g} s, before the first score{why}")
    share = (time.process_time() - started_s) / seconds if seconds else 0.0
    return ListenResult(folder, seconds, listener.n_windows, listener.n_alarms, share, defects)


_LEVELS = {"cleared": 20, "defect over": 20, "drift over": 20, "problem": 40}  # of the log; all else is a warning


def _sentence(event: dict[str, Any]) -> str:
    """An event as the log says it."""
    where = f"{event['recording']} at {event['end_s']:.1f} s" if "end_s" in event else event["recording"]
    if event["event"] == "alarm":
        return (
            f"alarm: {where}: {event['smoothed']:.4g} is above {event['threshold']:.4g}, since "
            f"{event['onset_s']:.1f} s ({event['audio']})"
        )
    if event["event"] == "drift":
        return (
            f"drift: {where}: the last {event['n_windows']} normal windows score {event['direction']} than the "
            f"training clips (p = {event['p_value']:.2g}, medians {event['median']:.4g} and "
            f"{event['training_median']:.4g}); listen to {event['audio']}, and recalibrate if that is normal"
        )
    return ": ".join(str(part) for part in (event["event"], where, event.get("why", "")) if part)
