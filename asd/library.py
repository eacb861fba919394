"""The library: fit a model on normal recordings, ask it for scores, without a run directory or a device.

asd.fit(normal, sample_rate_hz=16000).save("runs/mine")          # arrays, files or a folder
asd.load("runs/mine").score_files("new_recordings")              # a table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

import pandas as pd

from asd.core.files import atomic, read_json
from asd.core.runtime import fingerprint
from asd.core.storage import fetch, publish
from asd.data.given import Files, Waveform, clips_of_files, from_arrays, training_recordings
from asd.data.recordings import Recordings, Refused, check
from asd.data.remarks import broken, facts_of, learnt_from, notices, tell, unlike
from asd.detectors.base import Detector
from asd.detectors.windowed import check_lengths, cut_long_recordings, of_no_section
from asd.features.normal_spectra import SPECTRA_FILE, NormalSpectra
from asd.options import flattened
from asd.places import check_listed, mirrored
from asd.runs import RunDirectory, begun_runs, find_runs
from asd.scoring.threshold import Threshold, stored_thresholds
from asd.settings.config import MOST_HZ, Run
from asd.settings.parsing import check_options, options_of, parse
from asd.stages.fitting import lone_detector, store_model, thresholds_of, training_scores
from asd.stages.jobs import FRONT_END_FILE, RECORDED_FILE
from asd.stages.predictions import ClipScore, Normal, predictions, usable_scores, warn_of_defects
from asd.types import AsdError, Channel, Clip, FrontEnd, Split, one_of, section_among


@dataclass(eq=False)
class Model:
    """A fitted detector with its thresholds; `asd.fit` and `asd.load` make one.

    Attributes:
        detector: the fitted one, most in a `Windowed`; options, thresholds: what it was fitted with, one per scorer.
        normal: the training clips, against which scores of others are held.
        recorded: how these were stored, see `data.remarks.facts_of`.
        sections: of which they were.
        learnt: the training clips themselves; None where it was loaded.
        told: what was said of recordings already, see `data.remarks.tell`.
    """

    detector: Detector
    options: Run
    thresholds: Mapping[str, Threshold]
    normal: Normal
    recorded: Mapping[str, Any]
    sections: tuple[str, ...]
    learnt: Recordings | None = None
    told: set[str] = field(default_factory=set, init=False)  # `predict` comes back with many pieces of one folder

    def __repr__(self) -> str:
        about = self.options
        return f"Model(detector={about.detector}, machine={about.machine[0]}, sample_rate_hz={about.sample_rate_hz})"

    @property
    def scorers(self) -> tuple[str, ...]:
        """Ways to turn what was learnt into a score; the first is the default."""
        return self.detector.scorers

    def score(
        self, waveform: Waveform, sample_rate_hz: int, scorer: str | None = None, section: str | None = None
    ) -> ClipScore:
        """Score and decision of one recording.

        Args:
            waveform: (samples,), or (channels, samples) where several are needed or told by `channel`; full scale is 1.
            sample_rate_hz: the one the model was fitted for.
            scorer: one of `scorers`; None: the first.
            section: which section of the machine it is of, where the model was trained on several; None: 00.

        Returns:
            Score, threshold, decision, scorer, and the defect of the recording where it has one.

        Raises:
            AsdError: another sample rate, too few samples, samples that are no sound, or an unknown scorer or section.

        Example:
            >>> import numpy as np, asd
            >>> noise = np.random.default_rng(0).normal(0, 0.1, (20, 16000))
            >>> model = asd.fit(noise, sample_rate_hz=16000)
            >>> hum = 0.5 * np.sin(2 * np.pi * 440 / 16000 * np.arange(16000))
            >>> model.score(noise[0] + hum, 16000).decision
            True
        """
        name = self._scorer(scorer)
        if sample_rate_hz != (wanted := self.options.sample_rate_hz):
            way = f"resample the waveform, or fit with sample_rate_hz={sample_rate_hz!r}"
            raise AsdError(f"the model was fitted for {wanted} Hz, not {sample_rate_hz!r} Hz; {way}")
        own = "00" if section is None else section_among(self.sections, str(section), self.options.machine[0])
        recordings = from_arrays([waveform], wanted, self.detector.context.front_end, Split.TEST, section=own)
        check_lengths(recordings, self.options.detector_settings.least_samples())
        self._tell(WARNING, [*unlike(recordings, self.recorded), *of_no_section(recordings, self.sections)])
        value, limit = float(usable_scores(self.detector, recordings)[1][name][0]), self.thresholds[name].value
        return ClipScore(value, limit, value > limit, name, recordings.sounds[0].defect)

    def score_files(self, paths: Files, scorer: str | None = None) -> pd.DataFrame:
        """What the model says of recordings in files, as `predict` writes it.

        Args:
            paths: a file, a folder whose recordings are searched for at any depth, a pattern such as
                `new/*.flac`, a table of recordings, or several of these. Other rates are resampled.
            scorer: one of `scorers`; None: the first.

        Returns:
            One row per file, in their order, see `stages.predictions.predictions`.

        Raises:
            AsdError: there is no recording, one cannot be used, or the scorer is unknown.
        """
        table = self.score_clips(clips_of_files(paths, self.options.machine[0], Split.TEST), scorer)
        warn_of_defects(table)
        return table

    def score_clips(
        self, clips: Sequence[Clip], scorer: str | None = None, refused: list[Refused] | None = None
    ) -> pd.DataFrame:
        """What the model says of clips of which section or domain are known.

        Args:
            clips: in files.
            scorer: one of `scorers`; None: the first.
            refused: takes the clips that cannot be used, which then have no row; None: the first one is an error.

        Returns:
            One row per clip, in their order, see `stages.predictions.predictions`.

        Raises:
            AsdError: a clip cannot be used, or none can; or the scorer is unknown.
        """
        name = self._scorer(scorer)
        recordings = check(
            clips,
            sample_rate_hz=self.options.sample_rate_hz,
            front_end=self.detector.context.front_end,
            least_samples=self.options.detector_settings.least_samples(),
            refused=refused,
            resample=True,
        )
        self._tell(INFO, notices(recordings))
        remarks = [*unlike(recordings, self.recorded), *of_no_section(recordings, self.sections)]
        self._tell(WARNING, [*remarks, *learnt_from(recordings, self.recorded)])
        recordings, scores = usable_scores(self.detector, recordings, refused)
        device = self.detector.context.device
        return predictions(recordings, scores[name], self.thresholds[name], self.normal, name, device)

    def _scorer(self, given: str | None) -> str:
        return one_of(given or self.scorers[0], self.scorers, "scorer")

    def _tell(self, level: int, sentences: Sequence[str]) -> None:
        tell(level, self.options.machine[0], sentences, self.told)

    def save(self, path: str | Path, machine: str | None = None) -> Path:
        """Writes the model as a run, which `asd.load` and the stages of the command line read.

        Args:
            path: folder or address of the run, such as runs/mine; what it holds of this machine and seed is replaced.
            machine: under which machine; None: the one it was fitted for.

        Returns:
            The folder of this machine and seed.

        Raises:
            AsdError: the model was loaded, its encoder was given as a module, or nothing can be written there.
        """
        if self.learnt is None:
            raise AsdError("a loaded model is saved already; copy the folder of its run")
        path, name = _run_place(path), machine or self.options.machine[0]
        options = self.options.model_copy(update={"machine": [name], "name": path.name, "runs": path.parent})
        parse(Run, [], dict(flattened(options.stored())))  # as `load` will, before anything is written
        run = RunDirectory.of(path.parent, path.name, name, options.seeds[0])
        settings = fingerprint(options.settings(self.detector.context.code), run.seed, "")
        data = fingerprint([self.learnt.fingerprint])
        with run.alone():
            with atomic(run.path) as temporary:  # a model that is there stays until this one is whole
                new = RunDirectory(temporary)
                new.write_config(options.stored())
                store_model(run, self.detector, self.learnt, settings, data, place=new.model)
                new.scores.write({}, {scorer: asdict(threshold) for scorer, threshold in self.thresholds.items()})
                new.finish("", default=self.scorers[0], seconds=0.0)
            publish(run.path)  # while no other changes it
        return run.path


def fit(
    normal: Recordings | Sequence[Waveform] | Waveform | Files,
    sample_rate_hz: int | None = None,
    *,
    channel: Channel | None = None,
    detector: str | type[Detector] = "statistics",
    options: Mapping[str, Any] | None = None,
    machine: str = "machine",
    seed: int = 0,
    device: str = "auto",
) -> Model:
    """Fits a detector on recordings of a machine in good order.

    Args:
        normal: waveforms, each (samples,) or (microphones, samples) with full scale 1; or a file, a folder whose
            recordings are searched for at any depth, a pattern, a table of recordings, or several of these; or
            checked `Recordings`. Names of files may tell section, domain and attributes as in the challenge. Of a
            folder in one of the layouts of `train`, the normal training clips are taken.
        sample_rate_hz: of the waveforms; to which files are brought, by default the rate of the first.
        channel: of recordings with several: a number from 0 on, or "mean"; None: the first.
        detector: a name (statistics, autoencoder, embedding, an installed one), `package.module:Class`, or a class.
        options: options of `train`, such as {"backend": "knn"} or {"training.epochs": 5, "decision.quantile": 0.95}.
        machine: what the machine is called.
        seed: fixes every random draw, of one fit at a time: in threads, those that train take each other's.
        device: "auto", "cpu" or "cuda".

    Returns:
        The model.

    Raises:
        AsdError: no recordings, recordings that cannot be used or hold no sound, or an unknown detector or option, or
            one that has no meaning here.

    Example:
        >>> import numpy as np, asd
        >>> normal = np.random.default_rng(0).normal(0, 0.1, (20, 16000))
        >>> asd.fit(normal, sample_rate_hz=16000).scorers[0]
        'ensemble'
    """
    if not isinstance(detector, (str, type)):
        raise AsdError(f"detector={detector!r} is no detector; give a name or a class, and options by options=")
    name = detector if isinstance(detector, str) else f"{detector.__module__}:{detector.__qualname__}"
    check_options(options, name)
    about: dict[str, Any] = {"detector": name, "machine": [machine], "seeds": [seed], "device": str(device)}
    about |= {"channel": channel, **(options or {})}
    rate_hz = MOST_HZ if sample_rate_hz is None else sample_rate_hz  # of files it is known later, and as much at most
    given = parse(Run, [], {**about, "sample_rate_hz": rate_hz})
    recordings = training_recordings(normal, sample_rate_hz and given.sample_rate_hz, machine, given.front_end)
    run = parse(Run, [], {**about, "sample_rate_hz": recordings.sample_rate_hz})
    check_lengths(recordings, run.detector_settings.least_samples())
    if beginning := broken(recordings, "recordings"):
        raise AsdError(f"{beginning}; leave them out")
    recordings = recordings if run.window_s else cut_long_recordings(recordings, machine)
    model = lone_detector(run, recordings.front_end)
    model.fit(recordings)
    training = training_scores(model, recordings)
    limits = thresholds_of(model, training, run, machine, recordings)
    known = Normal(training, NormalSpectra.of(recordings, model.context.device))
    return Model(model, run, limits, known, facts_of(recordings, run.window_s), tuple(recordings.sections), recordings)


def load(path: str | Path, machine: str | None = None, *, seed: int | None = None, device: str = "auto") -> Model:
    """Loads a model that `asd train` or `Model.save` wrote.

    Args:
        path: folder of the run, such as runs/statistics, or of one of its machines or seeds; or its address.
        machine: which machine's; None: the only one.
        seed: which seed's; None: the first.
        device: "auto", "cpu" or "cuda".

    Returns:
        The model.

    Raises:
        AsdError: there is no such run, it is damaged, or it has several machines and none was named.
    """
    check_listed(path := _run_place(path))
    if (path / "DONE").is_file():  # of one seed, as `save` returns it
        seed, path = RunDirectory(path.absolute()).seed, path.absolute().parent
    if any(path.glob("seed*/DONE")):
        machine, path = path.absolute().name, path.absolute().parent
    runs = find_runs(path.parent, path.name, seed, machine)
    begun = begun_runs(path.parent, path.name) if machine is None else []  # whose models are not to be mistaken
    machines = list(dict.fromkeys(run.machine for run in (*runs, *begun)))
    if len(machines) > 1:
        raise AsdError(f"{path} has several machines ({', '.join(machines)}); name one with machine=")
    run = runs[0]
    fetch(run.path)
    options = options_of(run, device=str(device))
    run.check_model()
    run.check_version(options.detector_version)
    run.check_code(options.own_code, refuse=False)
    run.check_settings(options.settings(run.fit_facts().get("code", "")))
    detector = lone_detector(options, FrontEnd.of_dict(read_json(run.model / FRONT_END_FILE)))
    detector.load(run.model)
    scores = run.scores
    found = stored_thresholds(scores.thresholds(), detector.scorers, scores.path / "thresholds.json", scores.remedy)
    normal = Normal(run.training_scores(), NormalSpectra.load(run.model / SPECTRA_FILE))
    sections = tuple(run.fit_facts()["sections"])
    return Model(detector, options, found, normal, read_json(run.model / RECORDED_FILE), sections)


def _run_place(path: Any) -> Path:
    if not isinstance(path, (str, Path)) or not str(path):
        raise AsdError(f"{path!r} names no run; give its folder, such as runs/statistics")
    return mirrored(path)
