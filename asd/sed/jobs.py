"""One training, and one hearing: what the stages `train` and `score` do for each seed."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asd.core.runtime import fingerprint, log
from asd.core.semi.teacher import EmaTeacher
from asd.core.trainer import interrupted
from asd.features.logmel import LogMel
from asd.runs import read_json, write_json
from asd.sed import dataset
from asd.sed.config import Train
from asd.sed.dataset import Clips, Part, Scale
from asd.sed.folders import SedRun, write_part
from asd.sed.labels import events_of_frames, require_positives
from asd.sed.network import EventNetwork, build_network
from asd.sed.objective import Objective, Semi
from asd.sed.postprocess import Decoding, tune
from asd.sed.training import Models, fit, probabilities
from asd.types import AsdError


@dataclass(frozen=True)
class Corpus:
    """A data folder, read and checked once for all seeds.

    Attributes:
        classes: names, in the order of all class axes.
        clips: all training clips on the device, standardised.
        scale: by which.
        heard: parts that are scored when training is done, validation first.
        fingerprint: hash of recordings and tables.
    """

    classes: Sequence[str]
    clips: Clips
    scale: Scale
    heard: Sequence[Part]
    fingerprint: str


def read_corpus(config: Train, device: torch.device) -> Corpus:
    """Reads a data folder, and refuses it before long work where something is wrong.

    Raises:
        AsdError: recordings or tables that do not fit, or a class without an example.
    """
    data, rate = config.data, config.features.sample_rate_hz
    if not data.is_dir():
        raise AsdError(
            f"data={data} is not a folder; `python -m asd sed make-soundscapes out={data}` makes one"
        )
    classes = dataset.find_classes(data, config.classes)
    parts = [dataset.read_part(data, name, classes, rate) for name in dataset.train_parts(data)]
    heard = [
        dataset.read_part(data, name, classes, rate)
        for name in ("validation", "test")
        if name == "validation" or (data / name).is_dir()
    ]
    clips = dataset.to_device(parts, classes, front_end(config), device)
    counts = clips.clip_targets[clips.clips_known].sum(0).tolist()
    require_positives(dict(zip(classes, counts, strict=True)), f"the training data in {data}")
    if config.loss.name == "ifl" or config.loss.graph:
        counts = clips.frame_targets[clips.frames_known].sum((0, 1)).tolist()
        require_positives(dict(zip(classes, counts, strict=True)), f"the strong labels in {data}")
    validation = heard[0].events
    if validation is not None:
        seen = validation["event_label"].value_counts()
        require_positives({name: seen.get(name, 0) for name in classes}, "the validation part")
    scale = Scale.of(clips)
    return Corpus(classes, scale(clips), scale, heard, _content([*parts, *heard], data))


def front_end(config: Train) -> LogMel:
    """What turns waveforms into log-mel levels."""
    return LogMel(**config.features.model_dump())


def train_seed(config: Train, corpus: Corpus, seed: int, device: torch.device) -> SedRun:
    """Trains, tunes on validation and scores, or finds that all of it is done.

    Raises:
        AsdError: a run of other options or data in the way.
    """
    run = SedRun(config.runs / config.name / f"seed{seed}")
    key = fingerprint(config.decisive(), list(corpus.classes), corpus.fingerprint, seed)
    if run.fingerprint() == key:
        log.info("%s is done already", run.path)
        return run
    if config.overwrite and interrupted(run.path) != key:
        shutil.rmtree(run.path, ignore_errors=True)
    if run.fingerprint() is not None:
        raise AsdError(
            f"{run.path} holds a run of other options or data; choose another name=, or overwrite=true"
        )
    run.write_config(config.model_dump(mode="json") | {"classes": list(corpus.classes), "seeds": [seed]})
    models = _models(config, corpus, seed, device)
    validation = corpus.scale(dataset.to_device(corpus.heard[:1], corpus.classes, front_end(config), device))
    fit(
        models,
        _objective(config, corpus, models),
        validation,
        config.training,
        run.path,
        seed=seed,
        patience=config.training.patience,
        fingerprint=key,
        label=run.path.as_posix(),
    )
    models.save(run.weights, {"classes": list(corpus.classes), **config.features.model_dump()})
    _tune(config, corpus.classes, models, validation, run)
    for part in corpus.heard:
        hear(config, corpus.classes, models, part, run, device)
    run.finish(key)
    (run.path / "state.safetensors").unlink(missing_ok=True)
    return run


def load_models(config: Train, run: SedRun, device: torch.device) -> Models:
    """The networks of a complete run."""
    return Models.load(run.weights, _network(config, len(config.classes)), device)


def hear(
    config: Train, classes: Sequence[str], models: Models, part: Part, run: SedRun, device: torch.device
) -> None:
    """Writes what both networks say of a part's clips."""
    front = front_end(config)
    step_s = dataset.hop_s(front, config.features.sample_rate_hz)
    clips = models.scale(dataset.to_device([part], classes, front, device))
    ends = (~clips.absent).sum(1).tolist()
    for name, network in models.by_name().items():
        decoding = Decoding(**read_json(run.decoding)[name])
        said = probabilities(network, clips, config.training.batch_size)
        smoothed = _smoothed(decoding, said.frames, clips.absent).cpu().numpy()
        frames = {file: smoothed[i, : ends[i]] for i, file in enumerate(part.filenames)}
        whole = dict(zip(part.filenames, said.clips.cpu().numpy(), strict=True))
        events = [
            (file, *event)
            for file, scores in frames.items()
            for event in events_of_frames(decoding.active(scores), classes, step_s, part.durations_s[file])
        ]
        write_part(run, name, part.name, classes, frames, whole, events, part.durations_s, step_s)


def _smoothed(decoding: Decoding, frames: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """Frames through the median filter, each clip by itself: it is mirrored at its own end."""
    smoothed = torch.zeros_like(frames)
    lengths = (~absent).sum(1)
    for length in lengths.unique().tolist():
        same = lengths == length
        smoothed[same, :length] = decoding.smooth(frames[same, :length])
    return smoothed


def _tune(config: Train, classes: Sequence[str], models: Models, validation: Clips, run: SedRun) -> None:
    step_s = dataset.hop_s(front_end(config), config.features.sample_rate_hz)
    decodings = {}
    for name, network in models.by_name().items():
        frames = probabilities(network, validation, config.training.batch_size).frames
        decodings[name] = tune(frames, validation.frame_targets, validation.absent, classes, step_s).facts()
    write_json(run.decoding, decodings)


def _models(config: Train, corpus: Corpus, seed: int, device: torch.device) -> Models:
    torch.manual_seed(seed)
    student = _network(config, len(corpus.classes)).to(device)
    return Models(student, EmaTeacher(student, config.teacher.decay), corpus.scale)


def _network(config: Train, n_classes: int) -> EventNetwork:
    return build_network(n_classes=n_classes, n_mels=config.features.n_mels, **config.network.model_dump())


def _objective(config: Train, corpus: Corpus, models: Models) -> Objective:
    teacher, loss = config.teacher, config.loss
    steps_per_epoch = math.ceil(len(corpus.clips) / config.training.batch_size)
    semi = Semi(
        method=teacher.method,
        weight=teacher.weight,
        ramp_steps=round(teacher.ramp_epochs * steps_per_epoch),
        positive_threshold=teacher.positive,
        negative_threshold=teacher.negative,
        window_frames=teacher.window_frames,
        balance=teacher.balance,
        sure_cells=teacher.sure_cells,
    )
    return Objective(
        models.student,
        models.teacher,
        corpus.clips,
        loss=loss.name,
        loss_settings=loss.own(),
        weak_weight=loss.weak,
        activity_weight=loss.activity,
        graph_weight=loss.graph,
        semi=semi,
        mixup_share=config.augment.mixup,
        mask_widest=config.augment.mask,
    )


def _content(parts: Sequence[Part], data: Path) -> str:
    """Hash of recordings and tables: moved data is the same data."""
    files: list[Any] = []
    for part in parts:
        table = data / f"{part.name}.tsv"
        paths = [clip.path for clip in part.recordings.clips] + ([table] if table.exists() else [])
        files += [(part.name, path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]
    return fingerprint(files)
