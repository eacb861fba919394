"""A run of event detection with one seed: the network trained, tuned on validation, and its predictions written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from asd.core.checkpoint import load_into
from asd.core.files import load_tensors, save_tensors, write_json
from asd.core.networks.frame_classifiers import CRNN, CNNTransformer, EventLogits, EventNetwork, FrequencyPooledCNN
from asd.core.runtime import fingerprint, log
from asd.core.semi import EmaTeacher
from asd.core.storage import fetch, publish
from asd.core.tracking import Tracked, tracking
from asd.core.trainer import train
from asd.sed import dataset
from asd.sed.config import Network, Train
from asd.sed.dataset import Clips, Corpus, MelStandardizer, Part
from asd.sed.labels import Decoding, events_of_frames, tune
from asd.sed.objective import Objective
from asd.sed.run import SedRun, write_part
from asd.types import AsdError


class Probabilities(NamedTuple):
    """Predictions for clips: frames (clips, frames, classes) and clips (clips, classes)."""

    frames: torch.Tensor
    clips: torch.Tensor


@dataclass(frozen=True)
class Models:
    """A student, its teacher, and the standardisation of their input."""

    student: EventNetwork
    teacher: EmaTeacher
    scale: MelStandardizer

    def by_name(self) -> dict[str, nn.Module]:
        """Both of them; the same code runs and measures them."""
        return {"student": self.student, "teacher": self.teacher.module}

    def save(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Writes weights, scale and facts to one safetensors file."""
        both = nn.ModuleDict({"student": self.student, "teacher": self.teacher}).state_dict()
        save_tensors(path, {**both, "scale.mean": self.scale.mean, "scale.spread": self.scale.spread}, facts)

    @classmethod
    def load(cls, config: Train, run: SedRun, device: torch.device) -> Models:
        """The networks of a complete run, in eval mode."""
        try:
            tensors, facts = load_tensors(run.weights, device)
        except AsdError as error:
            raise AsdError(f"{error}; remove it and train again with the same options") from error
        known = {"classes": config.classes, **config.features.model_dump()}
        if edited := [name for name, value in facts.items() if known.get(name) != value]:
            what = f"{run.path}/config.yaml holds other {edited[0]} than the run was trained with"
            raise AsdError(f"{what}; train again with the same options")
        scale = MelStandardizer(tensors.pop("scale.mean"), tensors.pop("scale.spread"))
        student = build_network(config.network, len(config.classes), config.features.n_mels).to(device)
        models = cls(student, EmaTeacher(student), scale)
        load_into(nn.ModuleDict({"student": student, "teacher": models.teacher}).eval(), tensors, run.weights)
        return models


def build_network(settings: Network, n_classes: int, n_mels: int) -> EventNetwork:
    """The network that the options describe; those that the other kind needs are not used."""
    convolutions = FrequencyPooledCNN(n_mels, settings.channels, settings.pools)
    if settings.kind == "crnn":
        return EventNetwork(CRNN(n_classes, convolutions, settings.n_recurrent), settings.pooling)
    if settings.kind == "transformer":
        sizes = settings.n_heads, settings.n_layers, settings.n_feedforward
        return EventNetwork(CNNTransformer(n_classes, convolutions, *sizes), settings.pooling)
    raise AsdError(f"network.kind={settings.kind} is unknown; choose crnn or transformer")


def train_seed(config: Train, corpus: Corpus, seed: int, device: torch.device) -> None:
    """Trains, tunes on validation and scores, or finds that all of it is done."""
    run = SedRun(config.runs / config.name / f"seed{seed}")
    fetch(run.path)
    key = fingerprint(config.decisive(), list(corpus.classes), corpus.fingerprint, seed)
    resolved = config.model_copy(update={"classes": list(corpus.classes), "seeds": [seed]})
    if run.is_done(key):
        if not _is_recorded(resolved, run):
            run.write_config(resolved.model_dump(mode="json"))
        log.info("%s is done already", run.path)
    else:
        with run.alone():
            _complete(resolved, corpus, run, key, device)
    publish(run.path)


def _is_recorded(config: Train, run: SedRun) -> bool:
    """Whether config.yaml holds these options: the data may have been moved since, and the file be lost or damaged."""
    try:
        known = run.settings()
    except AsdError:
        return False
    return known.data == config.data and known.decisive() == config.decisive()


def _complete(config: Train, corpus: Corpus, run: SedRun, key: str, device: torch.device) -> None:
    run.make_way(key, overwrite=config.overwrite)
    run.write_config(config.model_dump(mode="json"))
    torch.manual_seed(run.seed)
    student = build_network(config.network, len(config.classes), config.features.n_mels).to(device)
    models = Models(student, EmaTeacher(student, config.teacher.decay), corpus.scale)
    validation = corpus.scale(dataset.to_device(corpus.scored[:1], config.classes, config.features, device))
    what = Tracked.of(run.path, key, levels=1)
    with tracking(config.track, what, config.model_dump(mode="json")):
        _fit(config, corpus, models, validation, run, key)
    models.save(run.weights, {"classes": config.classes, **config.features.model_dump()})
    _tune(config, models, validation, run)
    for part in corpus.scored:
        write_predictions(config, models, part, run)
    run.finish(key)


def _fit(config: Train, corpus: Corpus, models: Models, validation: Clips, run: SedRun, key: str) -> None:
    """Trains the student, and the teacher along with it; resumes where it was stopped.

    After each epoch the macro F1 over validation frames at the threshold 0.5 is logged, of both, and that of
    the student is the score by which `patience` stops.
    """
    settings, clips = config.training, corpus.clips

    def validate(_: int) -> dict[str, float]:
        f1 = {
            name: _frame_f1(probabilities(network, validation, settings.batch_size).frames, validation)
            for name, network in models.by_name().items()
        }
        return {"score": f1["student"], "score_teacher": f1["teacher"]}

    train(
        models.student,
        Objective(config, models.student, models.teacher, clips),
        torch.arange(len(clips), device=clips.log_mel.device),
        settings,
        run.path,
        seed=run.seed,
        patience=settings.patience,
        validate=validate,
        teacher=models.teacher,
        fingerprint=key,
        label=run.path.as_posix(),
    )
    for module in models.by_name().values():
        module.eval()


def write_predictions(config: Train, models: Models, part: Part, run: SedRun) -> None:
    """Writes what both networks predict for a part's clips; the options are those of the run."""
    classes, step_s = config.classes, config.features.hop_s
    clips = models.scale(dataset.to_device([part], classes, config.features, models.scale.mean.device))
    ends = clips.n_frames.tolist()
    decodings = run.decodings()
    run.note(part, complete=False)
    for name, network in models.by_name().items():
        decoding = Decoding(**decodings[name])
        predicted = probabilities(network, clips, config.training.batch_size)
        smoothed = _smoothed(decoding, predicted.frames, clips.n_frames).cpu().numpy()
        frames = {file: smoothed[i, : ends[i]] for i, file in enumerate(part.filenames)}
        whole = dict(zip(part.filenames, predicted.clips.cpu().numpy(), strict=True))
        events = [
            (file, *event)
            for file, scores in frames.items()
            for event in events_of_frames(decoding.active(scores), classes, step_s, part.durations_s[file])
        ]
        write_part(run, name, part, config, frames, whole, events)
    run.note(part, complete=True)


def _smoothed(decoding: Decoding, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Frames through the median filter, each clip by itself: it is mirrored at its own end."""
    smoothed = torch.zeros_like(frames)
    for length in lengths.unique().tolist():
        same = lengths == length
        smoothed[same, :length] = decoding.smooth(frames[same, :length])
    return smoothed


def _tune(config: Train, models: Models, validation: Clips, run: SedRun) -> None:
    decodings = {}
    for name, network in models.by_name().items():
        frames = probabilities(network, validation, config.training.batch_size).frames
        tuned = tune(frames, validation.frame_targets, validation.padding, config.classes, config.features.hop_s)
        decodings[name] = asdict(tuned)
    write_json(run.decoding, decodings)


@torch.no_grad()
def probabilities(network: nn.Module, clips: Clips, batch_size: int) -> Probabilities:
    """Probabilities by a network in eval mode of standardised clips; padding has the probability 0.

    Clips of one length go together and without padding, so that the prediction for one does not depend on
    the others.
    """
    frames = torch.zeros_like(clips.frame_targets)
    whole = torch.zeros_like(clips.clip_targets)
    lengths = clips.n_frames
    for length in lengths.unique().tolist():
        for indices in (lengths == length).nonzero().squeeze(1).split(batch_size):
            logits: EventLogits = network(clips.log_mel[indices, :length], clips.padding[indices, :length])
            frames[indices, :length] = logits.frames.float().sigmoid()
            whole[indices] = logits.clips.sigmoid()
    return Probabilities(frames, whole)


def _frame_f1(frames: torch.Tensor, clips: Clips) -> float:
    """Macro F1 over frames of probabilities (clips, frames, classes), at the threshold 0.5."""
    true, predicted = clips.frame_targets > 0.5, frames > 0.5
    hits, misses = (true & predicted).sum((0, 1)), (true ^ predicted).sum((0, 1))
    return float((2 * hits / (2 * hits + misses).clamp_min(1)).mean())
